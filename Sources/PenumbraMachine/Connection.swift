// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// What the agent says of its machine.
public struct Welcome: Equatable, Sendable {
    /// The release of the kernel that runs.
    public let kernel: String
    /// "loaded", "absent", or "failed: " with the reason.
    public let module: String
}

/// One session with a machine's agent, on one of its ports. Not for use by two threads at once.
public final class Connection {
    public private(set) var welcome = Welcome(kernel: "", module: "")
    private let state: StateDirectory
    private let portLock: Descriptor
    private let socket: Descriptor
    private var decoder = FrameDecoder()
    /// After so many seconds without a welcome, the agent is greeted again.
    private static let patience = 2.0

    /// Takes the first free port and greets the agent; `whileWaiting` is called now and then and
    /// may throw to give up.
    init(state: StateDirectory, timeout: Double, whileWaiting: () throws -> Void = {}) throws {
        self.state = state
        let (port, lock) = try Self.freePort(state)
        portLock = lock
        socket = try LocalSocket.connect(to: state.socket(port))
        welcome = try greet(timeout: timeout, whileWaiting: whileWaiting)
    }

    private static func freePort(_ state: StateDirectory) throws -> (Int, Descriptor) {
        for port in 0..<StateDirectory.portCount {
            let lock = try Descriptor(
                path: state.file("agent.\(port).lock"), flags: O_RDWR | O_CREAT, mode: 0o600)
            if lock.tryLock() { return (port, lock) }
        }
        throw MachineError.allPortsBusy(name: state.name, ports: StateDirectory.portCount)
    }

    private func greet(timeout: Double, whileWaiting: () throws -> Void) throws -> Welcome {
        let deadline = monotonicSeconds() + timeout
        let nonce = UInt64.random(in: .min ... .max)
        var nextGreeting = monotonicSeconds()
        while true {
            try whileWaiting()
            let now = monotonicSeconds()
            guard now < deadline else {
                throw MachineError.agentSilent(name: state.name, seconds: timeout)
            }
            if now >= nextGreeting {
                try socket.write(Frame.resynchronization)
                try send(.hello(version: Message.version, nonce: nonce))
                nextGreeting = now + Self.patience
            }
            // Whatever comes before our welcome was meant for an earlier client.
            while let frame = nextEarlyFrame() {
                guard case .welcome(let version, nonce, let kernel, let module)? = try? Message(frame) else {
                    continue
                }
                guard version == Message.version else {
                    throw MachineError.otherVersion(name: state.name, theirs: version)
                }
                return Welcome(kernel: kernel, module: module)
            }
            if wait([pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)], milliseconds: 100)[0] {
                try receive()
            }
        }
    }

    /// A frame of the time before our welcome. The rest of one that an earlier client was sent is no
    /// frame: it goes, and should our welcome go with it, the next greeting brings another.
    private func nextEarlyFrame() -> Frame? {
        do { return try decoder.next() } catch {
            decoder = FrameDecoder()
            return nil
        }
    }

    // MARK: Requests

    /// Where a program's input comes from and its output goes.
    public struct Streams {
        public enum Output { case standard, error }

        /// Read until its end; nil: the program's input is empty.
        public var input: Descriptor?
        /// Signals to pass on, blocked in this process, as a signalfd(2) gives them.
        public var signals: Descriptor?
        /// A signalfd(2) that says that our terminal, which the program has its own for, has a new size.
        public var resized: Descriptor?
        /// Another signalfd(2) that is no business of the program's, and what to do about it.
        public var aside: (signals: Descriptor, action: () -> Void)?
        public var output: (Output, [UInt8]) throws -> Void

        public init(
            input: Descriptor? = nil, signals: Descriptor? = nil,
            output: @escaping (Output, [UInt8]) throws -> Void
        ) {
            self.input = input
            self.signals = signals
            self.output = output
        }
    }

    /// Runs a program in the machine and returns how it ended.
    public func run(_ command: Command, streams: Streams) throws -> Termination {
        guard Message.run(command).fits else {
            throw MachineError.refused(
                "the command with its environment is longer than a machine takes (16 KiB): make it shorter")
        }
        try send(.run(command))
        var input = streams.input
        var untaken = 0
        if input == nil { try send(.inputEnd) }
        while true {
            while let message = try nextMessage() {
                switch message {
                case .output(let bytes): try streams.output(.standard, bytes)
                case .errorOutput(let bytes): try streams.output(.error, bytes)
                case .inputTaken(let count): untaken -= Int(count)
                case .terminated(let termination): return termination
                case .failure(let reason): throw MachineError.refused(reason)
                default: throw ProtocolError.unexpected("an answer")
                }
            }
            let room = Message.inputWindow - untaken
            let ready = wait([
                pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: room > 0 ? input?.number ?? -1 : -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: streams.signals?.number ?? -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: streams.aside?.signals.number ?? -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: streams.resized?.number ?? -1, events: Int16(POLLIN), revents: 0),
            ])
            if ready[0] { try receive() }
            if ready[1], let source = input {
                let bytes = try source.read(atMost: min(room, Frame.maximumPayload)) ?? []
                try send(bytes.isEmpty ? .inputEnd : .input(bytes))
                untaken += bytes.count
                if bytes.isEmpty { input = nil }
            }
            if ready[2], let signal = streams.signals?.takeSignal() { try send(.signal(signal)) }
            if ready[4], streams.resized?.takeSignal() != nil, let size = TerminalSize(of: STDIN_FILENO) {
                try send(.resize(size))
            }
            if ready[3], let aside = streams.aside, aside.signals.takeSignal() != nil { aside.action() }
        }
    }

    /// Files that are put in this directory of the machine last as long as their connection.
    public static let transientFiles = "/run/penumbra/transient"

    /// Writes a file in the machine.
    public func put(_ bytes: [UInt8], to path: String, mode: UInt32 = 0o644) throws {
        try send(.put(path: path, mode: mode))
        for message in Message.chunks(of: bytes, Message.data) { try send(message) }
        try send(.dataEnd(mode: mode))
        switch try awaitMessage() {
        case .done: return
        case .failure(let reason): throw MachineError.refused(reason)
        default: throw ProtocolError.unexpected("an answer")
        }
    }

    /// Reads a file of the machine's.
    public func get(_ path: String) throws -> (bytes: [UInt8], mode: UInt32) {
        try send(.get(path: path))
        var bytes: [UInt8] = []
        while true {
            switch try awaitMessage() {
            case .data(let chunk): bytes += chunk
            case .dataEnd(let mode): return (bytes, mode)
            case .failure(let reason): throw MachineError.refused(reason)
            default: throw ProtocolError.unexpected("an answer")
            }
        }
    }

    /// Asks for a clean end; there is no answer but the end itself.
    func powerOff() throws { try send(.powerOff) }

    // MARK: Bytes

    private func send(_ message: Message) throws {
        do {
            try socket.write(message.frame.bytes)
        } catch { throw lost() }
    }

    private func nextMessage() throws -> Message? {
        while let frame = try decoder.next() {
            let message = try Message(frame)
            // Another greeting of ours, answered late.
            if case .welcome = message { continue }
            return message
        }
        return nil
    }

    private func awaitMessage() throws -> Message {
        while true {
            if let message = try nextMessage() { return message }
            try receive()
        }
    }

    /// Takes what the socket has; waits until it has something.
    private func receive() throws {
        guard let bytes = try? socket.read(atMost: 1 << 16), !bytes.isEmpty else { throw lost() }
        decoder.append(bytes)
    }

    private func lost() -> MachineError {
        // QEMU closes its sockets a moment before it ends, and the console's last line is in the file by then.
        .connectionLost(
            name: state.name, reason: ConsoleLog(file: state.consoleLog).failure ?? "QEMU ended")
    }

    /// Which of the descriptors have something (an end counts too).
    private func wait(_ descriptors: [pollfd], milliseconds: Int32 = -1) -> [Bool] {
        var list = descriptors
        poll(&list, nfds_t(list.count), milliseconds)
        return list.map { $0.revents != 0 }
    }
}
