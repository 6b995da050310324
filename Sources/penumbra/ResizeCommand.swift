// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraSystem
import PenumbraVMM

/// For the penumbra outside the machine: its terminal's size has changed.
struct ResizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resize", abstract: "Tell a VM's guest the size of its terminal.", shouldDisplay: false)

    @OptionGroup var guest: GuestArgument

    @Argument(help: "ROWSxCOLUMNS")
    var size: String

    func validate() throws {
        guard TerminalSize(size) != nil else { throw ValidationError("'\(size)' is no ROWSxCOLUMNS") }
    }

    func run() throws {
        try guest.run("resize") { client in
            if let size = TerminalSize(size) { _ = try client.resize(to: size) }
            return 0
        }
    }
}
