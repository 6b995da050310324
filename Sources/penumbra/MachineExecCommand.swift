// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine

struct MachineExecCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec",
        abstract: "Run a program in a machine; its exit status becomes this one's (128 + signal if killed).",
        usage:
            "penumbra machine exec [--name NAME] [--env NAME=VALUE ...] [--cwd DIRECTORY] -- PROGRAM [ARGUMENT ...]"
    )

    @OptionGroup var name: MachineName

    @Option(help: "NAME=VALUE for the program's environment; repeat for more.")
    var env: [String] = []

    @Option(help: "The program's working directory.")
    var cwd = "/"

    @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
    var command: [String]

    /// The command without the "--" before it.
    var words: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

    func validate() throws {
        if words.isEmpty { throw ValidationError("there is no program to run") }
    }

    func run() throws {
        let end = try RemoteProgram.run(
            Command(words, environment: env, directory: cwd), on: name.machine().connect())
        throw ExitCode(end.exitCode)
    }
}
