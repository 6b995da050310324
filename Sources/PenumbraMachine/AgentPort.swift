// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// One port in the machine and the session that its client has.
final class AgentPort {
    /// Programs' output is not read while this much waits for the client.
    private static let outgoingLimit = 256 << 10

    /// How long a port may be hung up before its session ends, in seconds.
    ///
    /// Whether a port has a client and what the client writes come by different queues, and the driver
    /// takes the first from a work item, maybe later: that one client left and another came can become
    /// known when the other has been greeted already. Then the port is hung up for a moment only.
    private static let hangUpGrace = 0.25

    private enum Client: Equatable {
        case absent, present
        /// Seconds of the monotonic clock at which the session ends.
        case hungUp(until: Double)
    }

    private let file: Descriptor
    private var client = Client.absent
    private var greeted = false
    private var decoder = FrameDecoder()
    private var outgoing: [UInt8] = []
    private var program: AgentProgram?
    private var upload: Upload?
    /// Files that go with the session, if they have not gone before.
    private var transientFiles: [String] = []
    /// Killed programs whose end is still to be collected.
    private var abandoned: [pid_t] = []

    private struct Upload {
        let file: Descriptor
        let path: String
        /// Nobody else's: clients may send the same file at the same time.
        let temporary: String

        init(to path: String, mode: UInt32) throws(SystemError) {
            self.path = path
            temporary = "\(path).\(UInt64.random(in: 0 ... .max)).new"
            file = try Descriptor(path: temporary, flags: O_WRONLY | O_CREAT | O_EXCL, mode: mode)
        }
    }

    convenience init(device: String) throws {
        self.init(try Descriptor(path: device, flags: O_RDWR | O_NONBLOCK))
    }

    init(_ file: Descriptor) {
        self.file = file
        _ = fcntl(file.number, F_SETOWN, getpid())
        _ = fcntl(file.number, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC)
    }

    /// Looks whether a client has come to a port that had none, or has stayed away for too long.
    func noticeClient() {
        guard client != .present else { return }
        var state = pollfd(fd: file.number, events: 0, revents: 0)
        poll(&state, 1, 0)
        if state.revents & Int16(POLLHUP) == 0 {
            client = .present
        } else if case .hungUp(let end) = client, monotonicSeconds() >= end {
            clientLeft()
        }
    }

    /// When `noticeClient` has to look again, in seconds of the monotonic clock.
    var deadline: Double? { if case .hungUp(let end) = client { end } else { nil } }

    func watches() -> [Watch] {
        var watches: [Watch] = []
        if client == .present {
            let events = POLLIN | (outgoing.isEmpty ? 0 : POLLOUT)
            watches.append(Watch(file, events) { [self] in try serve() })
        }
        if let program {
            watches += program.watches(takeOutput: outgoing.count < Self.outgoingLimit) {
                [unowned self] message in
                // An earlier watch of this round may have ended the program.
                guard self.program === program else { return }
                send(message)
                if case .terminated = message { self.program = nil }
            }
        }
        return watches
    }

    func reapAbandoned() { abandoned.removeAll { ChildProcess.ended($0) != nil } }

    // MARK: Bytes

    private func serve() throws {
        do {
            try flush()
            guard let bytes = try file.read(atMost: 1 << 16) else { return }
            guard !bytes.isEmpty else { return hangUp() }
            decoder.append(bytes)
            while let frame = try decoder.next() { try handle(frame) }
            try flush()
        } catch let error as ProtocolError {
            // Without the frames' limits nothing more can be understood; the client sees the silence.
            send(.failure("\(error)"))
            decoder = FrameDecoder()
        } catch is SystemError {
            // The port's only errors come from a client that left.
            hangUp()
        }
    }

    private func hangUp() { client = .hungUp(until: monotonicSeconds() + Self.hangUpGrace) }

    private func clientLeft() {
        endSession()
        client = .absent
        decoder = FrameDecoder()
    }

    /// Leaves no trace of the session.
    private func endSession() {
        if let program {
            program.kill(SIGKILL)
            abandoned.append(program.processID)
        }
        program = nil
        discardUpload()
        for path in transientFiles { Files.remove(path) }
        transientFiles = []
        outgoing = []
        greeted = false
    }

    private func send(_ message: Message) { outgoing += message.frame.bytes }

    private func flush() throws(SystemError) {
        while !outgoing.isEmpty, let count = try file.write(some: outgoing[...].prefix(1 << 15)) {
            outgoing.removeFirst(count)
        }
    }

    // MARK: Messages

    private func handle(_ frame: Frame) throws {
        let message: Message
        do {
            message = try Message(frame)
        } catch {
            // A frame that an earlier client left unfinished was completed with zeros.
            guard greeted else { return }
            throw error
        }
        if case .hello(_, let nonce) = message { return welcome(nonce) }
        guard greeted else { return }
        do {
            try perform(message)
        } catch {
            send(.failure("in the machine: \(error)"))
        }
    }

    private func welcome(_ nonce: UInt64) {
        endSession()
        greeted = true
        let module = (Files.text("/run/penumbra/module") ?? "absent").split(whereSeparator: \.isNewline)
        outgoing += Frame.resynchronization
        send(
            .welcome(
                version: Message.version, nonce: nonce, kernel: Self.kernelRelease(),
                module: module.joined(separator: " ")))
    }

    private static func kernelRelease() -> String {
        String((Files.text("/proc/sys/kernel/osrelease") ?? "unknown").prefix { !$0.isNewline })
    }

    private func perform(_ message: Message) throws {
        switch message {
        case .run(let command): program = try AgentProgram(command)
        case .input(let bytes): program?.queue(bytes)
        case .inputEnd: program?.endInput()
        case .signal(let number): program?.kill(number)
        case .resize(let size): program?.resize(to: size)
        case .put(let path, let mode):
            discardUpload()
            upload = try Upload(to: path, mode: mode)
        case .data(let bytes): try extendUpload(bytes)
        case .dataEnd(let mode): try finishUpload(mode)
        case .get(let path): try sendFile(path)
        case .powerOff:
            try retrying("reboot", "the machine") { Int(linux_power_off()) }
        case .hello, .welcome, .inputTaken, .output, .errorOutput, .terminated, .done, .failure:
            send(.failure("the agent was sent one of its own messages"))
        }
    }

    /// One that fails leaves nothing: what comes of it later is ignored.
    private func extendUpload(_ bytes: [UInt8]) throws {
        guard let upload else { return }
        do throws(SystemError) { try upload.file.write(bytes) } catch {
            discardUpload()
            if error.code == ENOSPC { throw MachineError.noRoom(path: upload.path) }
            throw SystemError(call: "write", subject: upload.path, code: error.code)
        }
    }

    private func discardUpload() {
        if let upload { Files.remove(upload.temporary) }
        upload = nil
    }

    private func finishUpload(_ mode: UInt32) throws(SystemError) {
        guard let finished = upload else { return }
        upload = nil
        try retrying("fchmod", finished.path) { Int(fchmod(finished.file.number, mode)) }
        // Whoever finds it under its name after a power cut is to find all of it.
        try finished.file.sync()
        try retrying("rename", finished.path) { Int(rename(finished.temporary, finished.path)) }
        if finished.path.hasPrefix(Connection.transientFiles + "/") { transientFiles.append(finished.path) }
        send(.done)
    }

    private func sendFile(_ path: String) throws(SystemError) {
        var information = stat()
        try retrying("stat", path) { Int(stat(path, &information)) }
        let bytes = try Files.read(path)
        for message in Message.chunks(of: bytes, Message.data) { send(message) }
        send(.dataEnd(mode: UInt32(information.st_mode & 0o7777)))
    }
}
