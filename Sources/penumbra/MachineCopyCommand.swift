// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraMachine
import PenumbraSystem

struct MachineCopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp",
        abstract: "Copy a file into a machine or out of it; the machine's side is written ':PATH'.",
        usage: "penumbra machine cp [--name NAME] FILE :PATH | :PATH FILE")

    @OptionGroup var name: MachineName

    @Argument(help: "What to copy.")
    var source: String

    @Argument(help: "The file to make, by its whole path.")
    var destination: String

    func validate() throws {
        guard source.hasPrefix(":") != destination.hasPrefix(":") else {
            throw ValidationError("exactly one of the two paths begins with ':'")
        }
    }

    func run() throws {
        let connection = try name.machine().connect()
        if destination.hasPrefix(":") {
            let mode: UInt32 = access(source, X_OK) == 0 ? 0o755 : 0o644
            try connection.put(try Files.read(source), to: String(destination.dropFirst()), mode: mode)
        } else {
            let file = try connection.get(String(source.dropFirst()))
            try Files.write(file.bytes, to: destination, mode: file.mode)
        }
    }
}
