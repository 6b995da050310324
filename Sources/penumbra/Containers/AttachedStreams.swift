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

    /// Whom signals that we get are passed on to.
    enum SignalTarget {
        /// The process of this connection's session.
        case session
        /// The container's main process.
        case container((Int32) throws -> Void)
    }

    /// Who interrupts us so often wants to leave a process that does not listen.
    private static let patience = 3

    let client: MonitorClient
    /// Standard input is the process's.
    let takesInput: Bool
    /// Our terminal is the process's.
    let hasTerminal: Bool
    let signals: SignalTarget
    var writeError: ([UInt8]) throws -> Void = Output.error.write

    /// Moves bytes until the process ends or the user leaves.
    func run() throws -> End {
        let arrivals = try RemoteProgram.takeSignals()
        let resized = hasTerminal ? try SignalDescriptor.open([SIGWINCH]) : nil
        let terminal = hasTerminal && takesInput ? RawTerminal(STDIN_FILENO, .everything) : nil
        client.socket.setNonblocking()
        let input =
            takesInput && !RawTerminal.isOthers(STDIN_FILENO) ? Descriptor(adopting: STDIN_FILENO) : nil
        return try withExtendedLifetime(terminal) { try loop(input, arrivals, resized) }
    }

    /// - Parameters:
    ///   - arrivals: signals to pass on, and `resized`, those of our terminal's, by SignalDescriptor.
    func loop(_ input: Descriptor?, _ arrivals: Descriptor, _ resized: Descriptor?) throws -> End {
        var input = input
        var keys = DetachKeys()
        var unsent: [UInt8] = []
        // Input that is on its way.
        var untaken = 0
        var interruptions = 0
        while true {
            while let message = try client.next() {
                if case .inputTaken(let count) = message { untaken -= count }
                if let end = try take(message) { return end }
            }
            let room = unsent.isEmpty ? MonitorMessage.inputWindow - untaken : 0
            let events = POLLIN | (unsent.isEmpty ? 0 : POLLOUT)
            var list = [
                pollfd(fd: client.socket.number, events: Int16(events), revents: 0),
                pollfd(fd: room > 0 ? input?.number ?? -1 : -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: arrivals.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: resized?.number ?? -1, events: Int16(POLLIN), revents: 0),
            ]
            poll(&list, nfds_t(list.count), -1)
            if list[1].revents != 0, let source = input {
                let bytes = try source.read(atMost: min(room, MonitorMessage.chunk)) ?? []
                let typed = hasTerminal ? keys.take(bytes) : bytes
                guard let typed else { return .detached }
                unsent += (bytes.isEmpty ? MonitorMessage.inputEnd : .input(typed)).frame.bytes
                untaken += typed.count
                if bytes.isEmpty { input = nil }
            }
            if list[2].revents != 0, let signal = arrivals.takeSignal() {
                if signal == SIGINT || signal == SIGTERM { interruptions += 1 }
                if interruptions == Self.patience { return .ended(SessionEnd(code: 128 + signal)) }
                try pass(signal, &unsent)
            }
            if list[3].revents != 0, resized?.takeSignal() != nil, let size = TerminalSize(of: STDIN_FILENO) {
                unsent += MonitorMessage.resize(size).frame.bytes
            }
            try flush(&unsent)
            if list[0].revents & ~Int16(POLLOUT) != 0 { try client.receive() }
        }
    }

    private func pass(_ signal: Int32, _ unsent: inout [UInt8]) throws {
        switch signals {
        case .session: unsent += MonitorMessage.sessionSignal(signal).frame.bytes
        case .container(let send): try send(signal)
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
