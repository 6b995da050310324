// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraVMM

struct KillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kill", abstract: "End a VM at once, without a word to its guest.")

    @OptionGroup var guest: GuestArgument

    func run() throws {
        try guest.run("kill") { client in
            try client.kill()
            return 0
        }
    }
}
