// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraMachine
import PenumbraSystem

/// A program in a machine on this process's own streams and signals.
enum RemoteProgram {
    /// Runs it and gives its end as a shell's exit code.
    static func run(
        _ command: Command, on connection: Connection, observeErrors: @escaping ([UInt8]) -> Void = { _ in }
    ) throws -> Int32 {
        let signals = try SignalDescriptor.open([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
        let streams = Connection.Streams(input: Descriptor(adopting: 0), signals: signals) { stream, bytes in
            switch stream {
            case .standard: try Output.standard.write(bytes)
            case .error:
                try Output.error.write(bytes)
                observeErrors(bytes)
            }
        }
        return try connection.run(command, streams: streams).exitCode
    }
}
