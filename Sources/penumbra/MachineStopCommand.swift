// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine

struct MachineStopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "Power a machine off; force it if it does not listen.")

    @OptionGroup var name: MachineName

    func run() throws {
        switch try name.machine().stop() {
        case .cleanly: Output.note("machine '\(name.name)' is off")
        case .terminated: Output.note("machine '\(name.name)' did not power off; QEMU was asked to end")
        case .killed: Output.note("machine '\(name.name)' did not power off; QEMU was killed")
        }
    }
}
