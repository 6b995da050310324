// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine

/// What runs in the machine; machine/init starts it.
struct MachineAgentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "machine-agent", abstract: "Serve a machine's ports.", shouldDisplay: false)

    func run() throws { try Agent().serve() }
}
