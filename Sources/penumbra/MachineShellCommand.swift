// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine

struct MachineShellCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shell", abstract: "A shell in a machine.")

    @OptionGroup var name: MachineName

    func run() throws {
        let shell = Command(["/bin/sh", "-i"], environment: ["PS1=\(name.name):\\w# "], directory: "/root")
        let connection = try name.machine().connect()
        let end =
            Terminals.areOurs
            ? try RemoteProgram.run(shell, inTerminalOn: connection)
            : try RemoteProgram.run(shell, on: connection)
        throw ExitCode(end.exitCode)
    }
}
