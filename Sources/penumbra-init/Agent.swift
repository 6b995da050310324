// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// The guest's half of AgentMessage's protocol: one thread, one poll(2), everything else in sessions.
/// What the host does against the protocol ends the agent, and the VM with it.
struct Agent {
    private enum State {
        case waiting
        case ready
        case configured(Container)
        case unusable
    }

    private let layout: Layout
    private var channel: Channel
    private let children: Descriptor
    private var state = State.waiting
    private var sessions: [AgentSession: Session] = [:]
    private var mainProcess: MainProcess?
    /// What the host said to other sessions while the main process was on its way.
    private var early: [AgentMessage] = []
    private var isEnding = false
    /// Processes that were killed for memory when a session last ended.
    private var killedForMemory = 0

    private struct MainProcess {
        let descriptor: Descriptor
        var runs = false
    }

    init(channel: Descriptor, layout: Layout) throws(AgentFailure) {
        self.layout = layout
        self.channel = Channel(channel)
        do throws(SystemError) { children = try SignalDescriptor.open([SIGCHLD]) } catch {
            throw AgentFailure(error)
        }
    }

    /// Until the host says that it is enough, or is gone.
    mutating func serve() throws(AgentFailure) {
        channel.send(.hello(version: AgentMessage.version, kernel: Self.kernel()))
        while !isEnding {
            try channel.flush()
            try serveOnce()
        }
        end()
    }

    private static func kernel() -> String {
        String((Files.text("/proc/sys/kernel/osrelease") ?? "unknown").prefix { $0 != "\n" })
    }

    // MARK: Waiting

    /// Who waits for a descriptor.
    private enum Waiter {
        case channel, children
        case status(AgentSession)
        case input(AgentSession)
        case output(AgentSession, Int)
    }

    private func waiters() -> (requests: [pollfd], waiters: [Waiter]) {
        var requests: [pollfd] = []
        var waiters: [Waiter] = []
        func wait(_ descriptor: Descriptor, _ events: Int32, _ waiter: Waiter) {
            requests.append(pollfd(fd: descriptor.number, events: Int16(events), revents: 0))
            waiters.append(waiter)
        }
        wait(channel.descriptor, POLLIN | (channel.wantsToWrite ? POLLOUT : 0), .channel)
        wait(children, POLLIN, .children)
        for (number, session) in sessions {
            if let status = session.status { wait(status, POLLIN, .status(number)) }
            if let input = session.input, session.wantsToWrite { wait(input, POLLOUT, .input(number)) }
            guard session.mayRead, !channel.isCrowded else { continue }
            for (index, output) in session.outputs.enumerated() {
                wait(output.source, POLLIN, .output(number, index))
            }
        }
        return (requests, waiters)
    }

    private mutating func serveOnce() throws(AgentFailure) {
        var (requests, waiters) = waiters()
        poll(&requests, nfds_t(requests.count), -1)
        // From the back: an output that ends moves those behind it.
        for (request, waiter) in zip(requests, waiters).reversed() where request.revents != 0 {
            switch waiter {
            case .channel: try takeMessages()
            case .children: reap()
            case .status(let number): tell(sessions[number]?.readStatus(as: number))
            case .input(let number): tell(sessions[number]?.feed(as: number))
            case .output(let number, let index): tell(sessions[number]?.read(index, as: number))
            }
        }
        try endSessions()
    }

    private mutating func tell(_ messages: [AgentMessage]?) {
        for message in messages ?? [] { channel.send(message) }
    }

    // MARK: Messages

    private mutating func takeMessages() throws(AgentFailure) {
        guard try channel.receive() else {
            isEnding = true
            return
        }
        while !isEnding, let message = try channel.next() { try take(message) }
    }

    private mutating func take(_ message: AgentMessage) throws(AgentFailure) {
        switch (message, state) {
        case (.welcome(AgentMessage.version), .waiting): state = .ready
        case (_, .waiting): throw Self.outOfTurn
        case (.configure(let spec), .ready): configure(spec)
        case (.powerOff, _): isEnding = true
        case (.start, _), (.pack, _), (.unpack, _): try begin(message)
        case (.input, _), (.inputEnd, _), (.credit, _), (.resize, _), (.signal, _):
            try takeOfSession(message)
        default: throw Self.outOfTurn
        }
    }

    private static let outOfTurn = AgentFailure(.setup, "the host sent a message out of turn")

    private mutating func configure(_ spec: ContainerSpec) {
        var container = Container(spec, layout)
        do throws(AgentFailure) {
            try container.prepare()
            state = .configured(container)
            channel.send(.configured)
        } catch {
            container.tearDown()
            state = .unusable
            channel.send(.configurationFailed(error.reason))
        }
    }

    /// Of a session that has ended the host need not have heard.
    private mutating func takeOfSession(_ message: AgentMessage) throws(AgentFailure) {
        guard let number = message.session else { throw Self.outOfTurn }
        guard sessions[number] != nil else {
            if early.contains(where: { $0.session == number }) { early.append(message) }
            return
        }
        switch message {
        case .input(_, let bytes):
            guard sessions[number]!.queue(bytes) else { throw Self.outOfTurn }
        case .inputEnd: sessions[number]!.endInput()
        case .credit(_, let count):
            guard sessions[number]!.give(count) else { throw Self.outOfTurn }
        case .resize(_, let size): sessions[number]!.resize(to: size)
        case .signal(_, let signal): sessions[number]!.signal(signal)
        default: throw Self.outOfTurn
        }
    }

    // MARK: Sessions

    private mutating func begin(_ message: AgentMessage) throws(AgentFailure) {
        guard let number = message.session, sessions[number] == nil else { throw Self.outOfTurn }
        guard case .configured(let container) = state else {
            return channel.send(.failed(number, AgentFailure(.setup, "the container was not configured")))
        }
        if number == .main {
            guard case .start(_, let spec) = message, mainProcess == nil else { throw Self.outOfTurn }
            return beginMain(spec, container)
        }
        guard let main = mainProcess else {
            return channel.send(.failed(number, Self.notRunning))
        }
        guard main.runs else { return early.append(message) }
        guard sessions[.main] != nil else { return channel.send(.failed(number, Self.notRunning)) }
        start(number, .join(mainProcess: main.descriptor, container), Self.job(of: message))
    }

    private static let notRunning = AgentFailure(.setup, "the container's main process does not run")

    private static func job(of message: AgentMessage) -> Child.Job {
        switch message {
        case .start(_, let spec): .program(spec)
        case .pack(_, let path, let followsLink): .pack(path, followsLink: followsLink)
        case .unpack(_, let path, let placement): .unpack(path, placement)
        default: preconditionFailure("begins no session")
        }
    }

    private mutating func beginMain(_ spec: ProcessSpec, _ container: Container) {
        start(.main, .create(container), .program(spec))
        guard let session = sessions[.main] else { return }
        if let descriptor = ProcessDescriptor.open(session.process) {
            mainProcess = MainProcess(descriptor: descriptor)
        }
    }

    private mutating func start(_ number: AgentSession, _ entry: Child.Entry, _ job: Child.Job) {
        do throws(SystemError) { sessions[number] = Session(try Launch(entry, job)) } catch {
            channel.send(.failed(number, AgentFailure(error)))
        }
    }

    // MARK: Ends

    private mutating func reap() {
        while children.takeSignal() != nil {}
        var status: Int32 = 0
        while true {
            let process = waitpid(-1, &status, WNOHANG)
            guard process > 0 else { return }
            // Who has no session was somebody's child who ended before it.
            guard let number = sessions.first(where: { $0.value.process == process })?.key else { continue }
            sessions[number]!.ended(Termination(waitStatus: status))
        }
    }

    private mutating func endSessions() throws(AgentFailure) {
        for number in sessions.keys.sorted(by: { $0.rawValue < $1.rawValue }) { endIfOver(number) }
        try startEarlySessions()
    }

    private mutating func endIfOver(_ number: AgentSession) {
        if sessions[number]!.hasFailed {
            sessions[number] = nil
            return
        }
        let (output, end) = sessions[number]!.finish(as: number)
        tell(output)
        guard let end else { return }
        sessions[number] = nil
        channel.send(.terminated(number, end, outOfMemory: wasKilledForMemory(end)))
    }

    /// The process itself, or the one whose end a shell passes on as its own.
    private mutating func wasKilledForMemory(_ end: Termination) -> Bool {
        guard end.exitCode == 128 + SIGKILL else { return false }
        let before = killedForMemory
        killedForMemory = ControlGroup.killedForMemory(layout)
        return killedForMemory > before
    }

    /// Once it is known what became of the main process.
    private mutating func startEarlySessions() throws(AgentFailure) {
        guard mainProcess?.runs == false, sessions[.main]?.status == nil else { return }
        mainProcess?.runs = true
        let messages = early
        early = []
        for message in messages { try take(message) }
    }

    private mutating func end() {
        for session in sessions.values { session.signal(SIGKILL) }
        var errorOfWait: Int32
        repeat { errorOfWait = waitpid(-1, nil, 0) < 0 ? errno : 0 } while errorOfWait != ECHILD
        if case .configured(let container) = state { container.tearDown() }
    }
}
