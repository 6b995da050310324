// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraSystem

struct MachineStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Say whether a machine runs, and with what. Exits with 3 if it does not.")

    /// As service managers report "not running" (LSB init script actions).
    private static let notRunning: Int32 = 3

    @OptionGroup var name: MachineName
    @OptionGroup var format: FormatOption

    func run() throws {
        let status = try name.machine().status()
        var fields: [(String, JSON)] = [
            ("name", .string(name.name)), ("state", .string(status.isRunning ? "running" : "stopped")),
        ]
        if let process = status.processID { fields.append(("pid", .number(UInt64(process)))) }
        if let failure = status.failure { fields.append(("failure", .string(failure))) }
        fields += status.settings.map { ($0.name, .string($0.value)) }
        try format.print(fields)
        if !status.isRunning { throw ExitCode(Self.notRunning) }
    }
}
