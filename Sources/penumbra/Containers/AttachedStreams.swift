// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraContainers
import PenumbraSystem

/// A container's process on this process's standard streams: attached, or one of exec's.
struct AttachedStreams {
    /// How it came to an end here.
    enum End: Equatable {
        case ended(SessionEnd)
        /// The user typed the keys that leave; the process goes on.
        case detached
    }

    let client: MonitorClient
    /// Standard input is the process's.
    let takesInput: Bool
    /// Our terminal is the process's.
    let hasTerminal: Bool
    /// Signals that we get are the process's: as the container's, or as this session's.
    let passOn: (Int32) throws -> Void
    var writeError: ([UInt8]) throws -> Void = Output.error.write

    /// Moves bytes until the process ends or the user leaves.
    func run() throws -> End {
        let signals = try RemoteProgram.takeSignals()
        let resized = hasTerminal ? try SignalDescriptor.open([SIGWINCH]) : nil
        let terminal = hasTerminal && takesInput ? RawTerminal(STDIN_FILENO, .everything) : nil
        client.socket.setNonblocking()
        return try withExtendedLifetime(terminal) { try loop(signals, resized) }
    }

    private func loop(_ signals: Descriptor, _ resized: Descriptor?) throws -> End {
        var input =
            takesInput && !RawTerminal.isOthers(STDIN_FILENO) ? Descriptor(adopting: STDIN_FILENO) : nil
        var keys = DetachKeys()
        var unsent: [UInt8] = []
        while true {
            while let message = try client.next() {
                if let end = try take(message) { return end }
            }
            let events = POLLIN | (unsent.isEmpty ? 0 : POLLOUT)
            var list = [
                pollfd(fd: client.socket.number, events: Int16(events), revents: 0),
                // What was read before must go first.
                pollfd(fd: unsent.isEmpty ? input?.number ?? -1 : -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: signals.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: resized?.number ?? -1, events: Int16(POLLIN), revents: 0),
            ]
            poll(&list, nfds_t(list.count), -1)
            if list[1].revents != 0, let source = input {
                let bytes = try source.read(atMost: MonitorMessage.chunk) ?? []
                let typed = hasTerminal ? keys.take(bytes) : bytes
                guard let typed else { return .detached }
                unsent += (bytes.isEmpty ? MonitorMessage.inputEnd : .input(typed)).frame.bytes
                if bytes.isEmpty { input = nil }
            }
            if list[2].revents != 0, let signal = signals.takeSignal() { try passOn(signal) }
            if list[3].revents != 0, resized?.takeSignal() != nil, let size = TerminalSize(of: STDIN_FILENO) {
                unsent += MonitorMessage.resize(size).frame.bytes
            }
            try flush(&unsent)
            if list[0].revents & ~Int16(POLLOUT) != 0 { try client.receive() }
        }
    }

    private func flush(_ unsent: inout [UInt8]) throws {
        while !unsent.isEmpty, let count = try client.socket.send(some: unsent[...]) {
            unsent.removeFirst(count)
        }
    }

    private func take(_ message: MonitorMessage) throws -> End? {
        switch message {
        case .output(.standard, let bytes): try Output.standard.write(bytes)
        case .output(.error, let bytes): try writeError(bytes)
        case .ended(let end): return .ended(end)
        case .refused(let reason): throw ContainerError.refused(reason)
        default: break
        }
        return nil
    }
}

/// Control-P Control-Q, which leave a terminal.
struct DetachKeys {
    private static let keys: (first: UInt8, second: UInt8) = (0x10, 0x11)
    private var holdsFirst = false

    /// What of these bytes is the process's; nil: the user leaves.
    mutating func take(_ bytes: [UInt8]) -> [UInt8]? {
        var passed: [UInt8] = []
        for byte in bytes {
            if holdsFirst {
                if byte == Self.keys.second { return nil }
                passed.append(Self.keys.first)
                holdsFirst = false
            }
            if byte == Self.keys.first { holdsFirst = true } else { passed.append(byte) }
        }
        return passed
    }
}
