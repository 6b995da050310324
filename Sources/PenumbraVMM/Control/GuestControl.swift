// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// What other processes can ask of a VM's, a line each: one request per connection, answered with
/// lines and an empty one behind them.
enum ControlRequest: Equatable {
    /// The lines of GuestStatus.
    case status
    /// The counters: a name and a number each.
    case counters
    /// The guest is asked to power off. The connection stays open until the VM has ended.
    case stop
    /// The VM ends now. The connection stays open until then.
    case kill
    /// The terminal that shows the guest's console has this size now.
    case size(TerminalSize)

    init?(line: String) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        switch (words[0], words.count) {
        case ("status", 1): self = .status
        case ("counters", 1): self = .counters
        case ("stop", 1): self = .stop
        case ("kill", 1): self = .kill
        case ("size", 2):
            guard let size = TerminalSize(words[1]) else { return nil }
            self = .size(size)
        default: return nil
        }
    }

    var line: String {
        switch self {
        case .status: "status"
        case .counters: "counters"
        case .stop: "stop"
        case .kill: "kill"
        case .size(let size): "size \(size.text)"
        }
    }
}

/// A VM's own end of its socket.
final class GuestControl: GuestDevice {
    private static let requestLimit = 64
    /// More wait in the socket's queue.
    private static let clientLimit = 32

    private final class Client {
        let socket: Descriptor
        var request: [UInt8] = []
        /// Waits for the VM's end only.
        var isAnswered = false
        init(_ socket: Descriptor) { self.socket = socket }
    }

    /// What of the guest is behind the requests.
    struct Actions {
        var counters: () throws -> [(name: String, value: UInt64)]
        var requestPowerOff: () -> Void
        var resize: (TerminalSize) throws -> Void
    }

    private let registration: Registration
    private let listener: ListeningSocket
    private let actions: Actions
    private var status: GuestStatus
    private let start = monotonicSeconds()
    private var clients: [Client] = []

    init(_ registration: Registration, _ status: GuestStatus, _ actions: Actions) throws(SystemError) {
        (self.registration, self.status, self.actions) = (registration, status, actions)
        listener = try ListeningSocket(registration.socket)
    }

    var descriptors: [Descriptor] {
        (clients.count < Self.clientLimit ? [listener.event] : []) + clients.map(\.socket)
    }

    func serve(_ ready: Descriptor) throws -> GuestOutcome? {
        if ready === listener.event {
            if let socket = listener.accept() { clients.append(Client(socket)) }
            return nil
        }
        guard let client = clients.first(where: { $0.socket === ready }) else { return nil }
        let bytes: [UInt8]
        do {
            guard let read = try client.socket.read(atMost: Self.requestLimit) else { return nil }
            bytes = read
        } catch { return drop(client) }
        if bytes.isEmpty || client.isAnswered { return drop(client) }
        client.request += bytes
        guard let end = client.request.firstIndex(of: UInt8(ascii: "\n")) else {
            return client.request.count < Self.requestLimit ? nil : drop(client)
        }
        guard
            let request = ControlRequest(line: String(decoding: client.request[..<end], as: UTF8.self))
        else { return drop(client) }
        return try answer(request, client)
    }

    @discardableResult private func drop(_ client: Client) -> GuestOutcome? {
        clients.removeAll { $0 === client }
        return nil
    }

    private func answer(_ request: ControlRequest, _ client: Client) throws -> GuestOutcome? {
        var lines: [(String, String)] = []
        switch request {
        case .status:
            status.age = UInt64(monotonicSeconds() - start)
            lines = status.lines
        case .counters:
            lines = try actions.counters().map { ($0.name, String($0.value)) }
        case .stop:
            status.state = .stopping
            actions.requestPowerOff()
        case .kill: break
        case .size(let size): try actions.resize(size)
        }
        let text = lines.map { "\($0.0) \($0.1)\n" }.joined() + "\n"
        // Far less than a socket holds: it goes at once, or there is nobody to take it.
        _ = try? client.socket.send(some: Array(text.utf8)[...])
        client.isAnswered = true
        return request == .kill ? .killed : nil
    }
}

/// Another process's end of a VM's socket. Each request takes a connection of its own.
public struct GuestClient {
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case silent(String)

        public var description: String {
            switch self {
            case .silent(let name):
                "the process of VM '\(name)' does not answer: end it with 'penumbra kill \(name)'"
            }
        }
    }

    private static let patience = 10.0

    let name: String
    private let socket: Descriptor
    /// The VM's process, to signal it and to wait for it; nil if it is this one.
    private let process: Descriptor?

    init(name: String, socket: Descriptor) {
        (self.name, self.socket) = (name, socket)
        process = socket.peerProcess.flatMap { $0 == getpid() ? nil : ProcessDescriptor.open($0) }
    }

    /// nil: the VM ended meanwhile.
    public func status() throws -> GuestStatus? { try ask(.status).flatMap { GuestStatus($0) } }

    /// nil: the VM ended meanwhile.
    public func counters() throws -> [(name: String, value: UInt64)]? {
        try ask(.counters)?.compactMap { line in UInt64(line.1).map { (line.0, $0) } }
    }

    /// Asks the guest to power off. Returns whether it ended within the time.
    public func stop(within seconds: Double) throws -> Bool {
        try ask(.stop) == nil || waitForEnd(within: seconds)
    }

    /// Ends the VM; if its process does not do that itself, the process too.
    public func kill() throws {
        if let answer = try? ask(.kill), answer.isEmpty, waitForEnd(within: Self.patience) { return }
        process?.sendSignal(SIGKILL)
        _ = waitForEnd(within: Self.patience)
    }

    /// nil: the VM ended meanwhile.
    public func resize(to size: TerminalSize) throws -> Void? { try ask(.size(size)).map { _ in } }

    /// The lines of the answer; nil if the VM ended before it came.
    private func ask(_ request: ControlRequest) throws -> [(String, String)]? {
        // One that is gone reads as the end.
        _ = try? socket.send(some: Array((request.line + "\n").utf8)[...])
        var bytes: [UInt8] = []
        let deadline = monotonicSeconds() + Self.patience
        while !(bytes == [UInt8(ascii: "\n")] || bytes.suffix(2) == Array("\n\n".utf8)[...]) {
            guard socket.waitReadable(seconds: max(0, deadline - monotonicSeconds())) else {
                throw Problem.silent(name)
            }
            guard let more = try? socket.read(atMost: 1 << 16), !more.isEmpty else { return nil }
            bytes += more
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { line in
            let parts = line.split(separator: " ", maxSplits: 1)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
    }

    /// Whether the VM ends in time, and its process with it: then nothing of it is left.
    private func waitForEnd(within seconds: Double) -> Bool {
        let deadline = monotonicSeconds() + seconds
        while socket.waitReadable(seconds: max(0, deadline - monotonicSeconds())) {
            guard let bytes = try? socket.read(atMost: 64), !bytes.isEmpty else {
                process?.waitReadable(seconds: Self.patience)
                return true
            }
        }
        return false
    }
}
