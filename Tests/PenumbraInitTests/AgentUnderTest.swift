// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import Synchronization

@testable import PenumbraVMM

/// The built penumbra-init as a process of this system, in mount namespaces of its own, and the host's
/// half of the conversation with it. Needs root, as making containers does.
final class AgentUnderTest: Sendable {
    struct Silence: Error { let waitedFor: String }

    /// Whether these tests can be run here.
    static let isPossible = geteuid() == 0

    /// What a session came to.
    struct Outcome: Equatable {
        var end: AgentEvent?
        var output: [UInt8] = []
        var errors: [UInt8] = []

        var text: String { String(decoding: output, as: UTF8.self) }
        var errorText: String { String(decoding: errors, as: UTF8.self) }
    }

    private static let binary = "build/penumbra-init"
    private static let patience = 60.0

    let link: AgentLink
    let directory: TemporaryDirectory
    private let socket: Descriptor
    private let process: pid_t
    private let log: EventLog

    private final class EventLog: Sendable {
        let events = Mutex<[AgentEvent]>([])
        /// Sessions whose output nobody reads.
        let unread = Mutex<Set<AgentSession>>([])
    }

    /// - Parameter dropped: a capability that the agent is to do without, as setpriv(1) calls it.
    init(without dropped: String? = nil) throws {
        let directory = try TemporaryDirectory()
        let (socket, agents) = try Self.socketPair()
        (self.directory, self.socket) = (directory, socket)
        let log = EventLog()
        self.log = log
        link = try AgentLink { event in log.events.withLock { $0.append(event) } }
        process = try ChildProcess(
            program: "setpriv",
            arguments: (dropped.map { ["--bounding-set", "-\($0)"] } ?? [])
                + ["unshare", "--mount", "--net", Self.binary, "3", "\(directory.path)/agent"],
            descriptors: [(agents.number, 3)], ownSession: true
        ).spawn()
        let link = link
        try SystemThread(name: "link") { Self.carry(socket, link) }.detach()
        try SystemThread(name: "reader") { Self.passOn(log, link, socket) }.detach()
    }

    private static func socketPair() throws -> (Descriptor, Descriptor) {
        var ends: [Int32] = [0, 0]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try retrying("socketpair", "") { Int(socketpair(AF_UNIX, type, 0, &ends)) }
        let host = Descriptor(adopting: ends[0])
        host.setNonblocking()
        return (host, Descriptor(adopting: ends[1]))
    }

    /// The bytes both ways, until the agent's end is closed.
    private static func carry(_ socket: Descriptor, _ link: AgentLink) {
        while true {
            var list = [
                pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: link.wake.number, events: Int16(POLLIN), revents: 0),
            ]
            poll(&list, 2, 100)
            link.wake.takeEvent()
            if list[0].revents != 0 {
                guard let bytes = try? socket.read(atMost: 1 << 16), !bytes.isEmpty else {
                    return link.lose("the agent is gone")
                }
                link.receive(bytes)
            }
            while ((try? link.flush { try socket.send(some: $0[...]) ?? 0 }) ?? 0) > 0 {}
        }
    }

    /// Gives credit for what has come, except to sessions that stand for an output nobody reads.
    private static func passOn(_ log: EventLog, _ link: AgentLink, _ socket: Descriptor) {
        var seen = 0
        while true {
            let new = log.events.withLock { events in
                defer { seen = events.count }
                return Array(events[seen...])
            }
            for event in new {
                switch event {
                case .output(let session, _, let bytes):
                    if !log.unread.withLock({ $0.contains(session) }) {
                        link.passOn(bytes.count, of: session)
                    }
                case .lost: return
                default: continue
                }
            }
            usleep(1000)
        }
    }

    deinit {
        link.powerOff()
        var status: Int32 = 0
        let deadline = monotonicSeconds() + 10
        while waitpid(process, &status, WNOHANG) == 0 {
            if monotonicSeconds() > deadline { kill(process, SIGKILL) }
            usleep(1000)
        }
    }

    // MARK: What a test does

    var events: [AgentEvent] { log.events.withLock { $0 } }

    func leaveUnread(_ session: AgentSession) { _ = log.unread.withLock { $0.insert(session) } }

    /// Waits for an event that `value` makes something of.
    func wait<Value>(for what: String, _ value: (AgentEvent) -> Value?) throws -> Value {
        let deadline = monotonicSeconds() + Self.patience
        while monotonicSeconds() < deadline {
            for event in events { if let found = value(event) { return found } }
            usleep(2000)
        }
        throw Silence(waitedFor: "\(what); there is \(events.suffix(5))")
    }

    func waitForEnd(of session: AgentSession) throws -> Outcome {
        let end = try wait(for: "the end of session \(session.rawValue)") { event -> AgentEvent? in
            switch event {
            case .terminated(session, _, _), .failed(session, _), .lost: event
            default: nil
            }
        }
        return outcome(of: session, end)
    }

    func outcome(of session: AgentSession, _ end: AgentEvent? = nil) -> Outcome {
        var outcome = Outcome(end: end)
        for case .output(session, let stream, let bytes) in events {
            if stream == .standard { outcome.output += bytes } else { outcome.errors += bytes }
        }
        return outcome
    }

    /// Waits until a session has put out some text.
    func waitForOutput(_ text: String, of session: AgentSession) throws {
        let deadline = monotonicSeconds() + Self.patience
        while !outcome(of: session).text.contains(text) {
            guard monotonicSeconds() < deadline else {
                throw Silence(waitedFor: "'\(text)'; there is '\(outcome(of: session).text)'")
            }
            usleep(2000)
        }
    }

    /// Asks for the end, and waits for the agent's.
    func powerOff() throws {
        link.powerOff()
        _ = try wait(for: "the agent's end") { event -> Bool? in
            if case .lost = event { true } else { nil }
        }
    }
}

extension AgentUnderTest {
    /// A root file system with busybox in it.
    func makeImage() throws -> String {
        let image = "\(directory.path)/image"
        for name in ["bin", "etc", "root", "tmp"] { try Files.makeDirectories("\(image)/\(name)") }
        guard let busybox = Files.program("busybox") else {
            throw SystemError(call: "finding", subject: "busybox", code: ENOENT)
        }
        try Files.write(try Files.read(busybox), to: "\(image)/bin/busybox", mode: 0o755)
        let names = try ChildProcess.output(busybox, ["--list"]).split(separator: "\n")
        for name in names where name != "busybox" { symlink("busybox", "\(image)/bin/\(name)") }
        try Files.write(
            Array("root:x:0:0::/root:/bin/sh\nguest:x:1000:1001::/tmp:/bin/sh\n".utf8),
            to: "\(image)/etc/passwd")
        try Files.write(
            Array("root:x:0:\nguest:x:1001:\nwheel:x:10:guest,root\n".utf8), to: "\(image)/etc/group")
        return image
    }

    func makeContainer(_ change: (inout ContainerSpec) -> Void = { _ in }) throws {
        var spec = ContainerSpec(
            hostname: "box", root: RootSpec(image: .directory(try makeImage()), changes: .memory(limit: 0)))
        change(&spec)
        link.configure(spec)
    }

    /// A container whose main process runs until it is told to end.
    static func running(_ change: (inout ContainerSpec) -> Void = { _ in }) throws -> AgentUnderTest {
        let agent = try AgentUnderTest()
        try agent.makeContainer(change)
        agent.link.start(ProcessSpec("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"))
        return agent
    }

    /// Runs a process beside the main one.
    func run(_ spec: ProcessSpec, input: [UInt8] = []) throws -> Outcome {
        let session = try link.execute(spec)
        if !input.isEmpty { link.send(input, to: session) }
        link.endInput(of: session)
        return try waitForEnd(of: session)
    }

    func shell(_ script: String, _ change: (inout ProcessSpec) -> Void = { _ in }) throws -> Outcome {
        var spec = ProcessSpec("sh", "-c", script)
        change(&spec)
        return try run(spec)
    }
}
