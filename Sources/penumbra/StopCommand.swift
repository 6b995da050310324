// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraVMM

struct StopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "Ask a VM's guest to power off; end the VM if it does not in time.")

    @Option(help: "Seconds that the guest has.")
    var time = 10.0

    @OptionGroup var guest: GuestArgument

    func validate() throws {
        if time < 0 { throw ValidationError("--time takes no negative number of seconds") }
    }

    func run() throws {
        try guest.run("stop", ["--time=\(time)"]) { client in
            if try client.stop(within: time) { return 0 }
            Output.note("VM '\(guest.name)' did not power off within \(time) s and is ended")
            // The first connection has had its request.
            do { try guest.client().kill() } catch RunDirectory.Problem.notRunning {}
            return 0
        }
    }
}
