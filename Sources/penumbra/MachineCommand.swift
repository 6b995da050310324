// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine

struct MachineCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "machine",
        abstract: "A small Linux in QEMU for hosts without /dev/penumbra.",
        subcommands: [
            MachineStartCommand.self, MachineStopCommand.self, MachineStatusCommand.self,
            MachineShellCommand.self, MachineExecCommand.self, MachineCopyCommand.self,
            MachineLogsCommand.self,
        ])
}

struct MachineName: ParsableArguments {
    @Option(name: [.customLong("name"), .customShort("n")], help: "Which machine.")
    var name = StateDirectory.defaultName

    func machine() throws -> Machine { try Machine(name: name) }
}
