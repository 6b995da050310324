// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine

struct MachineShellCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shell", abstract: "A shell in a machine, line by line.")

    @OptionGroup var name: MachineName

    func run() throws {
        let shell = Command(["/bin/sh", "-i"], environment: ["PS1=\(name.name):\\w# "], directory: "/root")
        throw ExitCode(try RemoteProgram.run(shell, on: name.machine().connect()).exitCode)
    }
}
