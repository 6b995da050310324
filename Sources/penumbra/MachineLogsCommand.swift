// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraSystem

struct MachineLogsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "Print what a machine has said, also after its end.")

    enum Log: String, CaseIterable, ExpressibleByArgument {
        case console, debug, qemu
    }

    @OptionGroup var name: MachineName

    @Option(help: "console: the kernel; debug: port 0xe9; qemu: QEMU itself.")
    var log = Log.console

    @Flag(help: "Only lines in which the kernel complains; exits with 1 if there are any.")
    var complaints = false

    func run() throws {
        let state = try name.machine().state
        let path =
            switch log {
            case .console: state.consoleLog
            case .debug: state.debugLog
            case .qemu: state.qemuLog
            }
        guard complaints else { return try Output.standard.write(try Files.read(path)) }
        let lines = ConsoleLog(file: path).complaints
        for line in lines { try Output.standard.write(Array((line + "\n").utf8)) }
        if !lines.isEmpty { throw ExitCode(1) }
    }
}
