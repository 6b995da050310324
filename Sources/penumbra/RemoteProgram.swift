// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraMachine
import PenumbraSystem

/// A program in a machine on this process's own streams and signals.
enum RemoteProgram {
    /// From here on these do not end this process: it passes them on.
    static func takeSignals() throws -> Descriptor {
        try SignalDescriptor.open([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
    }

    /// Runs it to its end with a terminal of its own in the machine, which this process's own terminal
    /// shows as it is.
    static func run(_ command: Command, inTerminalOn connection: Connection) throws -> Termination {
        var command = command
        command.terminal = TerminalSize(of: STDIN_FILENO) ?? TerminalSize(rows: 24, columns: 80)
        command.environment.append("TERM=\(environmentVariable("TERM") ?? "linux")")
        let signals = try takeSignals()
        let resized = try SignalDescriptor.open([SIGWINCH])
        let terminal = RawTerminal(STDIN_FILENO, .everything)
        return try withExtendedLifetime(terminal) {
            var streams = Connection.Streams(input: Descriptor(adopting: STDIN_FILENO), signals: signals) {
                try Output.standard.write($1)
            }
            streams.resized = resized
            return try connection.run(command, streams: streams)
        }
    }

    /// Runs it to its end.
    static func run(
        _ command: Command, on connection: Connection, signals: Descriptor? = nil, readsInput: Bool = true,
        whenResized: (() -> Void)? = nil, observeErrors: @escaping ([UInt8]) -> Void = { _ in }
    ) throws -> Termination {
        let signals = try signals ?? takeSignals()
        let takesInput = readsInput && !RawTerminal.isOthers(STDIN_FILENO)
        let input = takesInput ? Descriptor(adopting: STDIN_FILENO) : nil
        var streams = Connection.Streams(input: input, signals: signals) { stream, bytes in
            switch stream {
            case .standard: try Output.standard.write(bytes)
            case .error:
                try Output.error.write(bytes)
                observeErrors(bytes)
            }
        }
        streams.aside = try whenResized.map { (try SignalDescriptor.open([SIGWINCH]), $0) }
        return try connection.run(command, streams: streams)
    }
}
