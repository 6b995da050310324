// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM

/// Runs one container from its start to its end, in a process of its own which outlives whoever
/// started it. One thread: it waits for clients, for the runtime's events, for signals and for
/// deadlines. Its jobs:
///
/// 1. Brings the main process's output into the log and to those attached, and clients' input to the
///    processes. A client that does not read stops its own process only, or, attached, the container's,
///    by the credit that the agent is not given.
/// 2. Ends the container: asked, with the stop signal, then SIGKILL, then by ending the VM.
/// 3. Has written down how the container ended, after its VM has, and only then tells those who wait.
public final class ContainerMonitor {
    /// What the guest has to end in good order when its main process has ended, in seconds.
    private static let powerOffPatience = 30.0
    /// What the agent has to report a process killed, in seconds.
    private static let killPatience = 10.0
    /// What clients have to read the last words, in seconds.
    private static let farewellPatience = 5.0
    private static let peerLimit = 512

    private enum Deadline {
        /// The main process is sent SIGKILL.
        case kill
        /// The VM is ended.
        case endVM
    }

    let container: Container
    private let files: ContainerFiles
    private let runtime: any ContainerRuntime
    private let inbox: RuntimeInbox
    private let listener: ListeningSocket
    private let signals: Descriptor?
    private let log: LogWriter
    private let keeper: ContainerKeeper
    private let started = Timestamp.now
    private var peers: [MonitorPeer] = []
    private var sessions: [AgentSession: MonitorPeer] = [:]
    /// Input that has not reached its process, by session.
    private var untaken: [AgentSession: UntakenInput] = [:]
    /// The main process's output that a slow client keeps from being passed on.
    private var owedCredit = 0
    private var mainHasStarted = false
    private var deadline: (time: Double, what: Deadline)?
    private var exit: ContainerExit?
    private var isOver = false
    private var logProblem: String?

    /// - Parameters:
    ///   - listener: a socket that takes clients without waiting for them.
    ///   - starter: the connection of who started the container.
    ///   - signals: SIGTERM and such, which stop the container.
    ///   - keeper: does in the container's directory what this process cannot any more.
    public init(
        _ container: Container, in store: ContainerStore, runtime: any ContainerRuntime, inbox: RuntimeInbox,
        listener: Descriptor, starter: Descriptor?, signals: Descriptor? = nil,
        keeper: ContainerKeeper
    ) throws {
        self.keeper = keeper
        self.container = container
        files = store.files(container.id)
        (self.runtime, self.inbox, self.signals) = (runtime, inbox, signals)
        self.listener = try ListeningSocket(listener)
        log = try LogWriter(
            files.log, limits: container.configuration.logLimits, successor: keeper.succeedLog)
        if let starter { peers.append(MonitorPeer(starter, isStarter: true)) }
    }

    /// Runs the container to its end, and has that written down. The caller holds the container's lock.
    public func run(terminal: TerminalSize?) -> ContainerExit {
        do {
            // First: once it is said to run, its end can be written down.
            try files.reserveEnd()
            try files.write(
                ContainerState.running(since: started, process: getpid(), boot: HostBoot.identifier))
        } catch {
            return ContainerExit(
                started: started, finished: .now, code: 125, reason: "its state cannot be kept: \(error)")
        }
        do {
            try runtime.start(container.configuration.process(terminal: terminal))
            if !container.configuration.keepsInputOpen { runtime.endInput(of: .main) }
        } catch {
            exit = ContainerExit(started: started, finished: .now, code: 125, reason: "\(error)")
            isOver = true
        }
        while !isOver { turn() }
        var exit = exit ?? lost("its VM ended without a word about its main process")
        exit.finished = .now
        if let logProblem { exit.add(logProblem) }
        // Those who wait are told in any case; others find a container whose monitor is gone.
        do { try keeper.record(exit) } catch { exit.add("\(error)") }
        return exit
    }

    /// Tells those who wait how the container ended, when nothing of it is left to do.
    public func farewell(_ exit: ContainerExit) {
        for peer in peers {
            switch peer.role {
            case .attached, .waiting, .fresh:
                peer.send(.ended(SessionEnd(code: exit.code, reason: exit.reason)))
            case .session: peer.send(.ended(SessionEnd(code: 128 + SIGKILL, reason: "the container ended")))
            }
        }
        let end = monotonicSeconds() + Self.farewellPatience
        while true {
            peers.removeAll { !$0.flush() || $0.outgoing.isEmpty }
            guard !peers.isEmpty, monotonicSeconds() < end else { return }
            var list = peers.map { pollfd(fd: $0.socket.number, events: Int16(POLLOUT), revents: 0) }
            poll(&list, nfds_t(list.count), 100)
        }
    }

    private func lost(_ reason: String) -> ContainerExit {
        ContainerExit(started: started, finished: .now, code: ContainerExit.lostCode, reason: reason)
    }

    // MARK: Waiting

    private func turn() {
        let peers = peers
        var list = [listener.event.number, inbox.arrival.number, signals?.number ?? -1].map {
            pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
        }
        if peers.count >= Self.peerLimit { list[0].fd = -1 }
        for peer in peers {
            let events = (mayRead(peer) ? POLLIN : 0) | (peer.outgoing.isEmpty ? 0 : POLLOUT)
            list.append(pollfd(fd: peer.socket.number, events: Int16(events), revents: 0))
        }
        let rest = deadline.map {
            Int32(min(max(0, ($0.time - monotonicSeconds()) * 1000), 1e9).rounded(.up))
        }
        poll(&list, nfds_t(list.count), rest ?? -1)
        if list[0].revents != 0, let socket = listener.accept() {
            self.peers.append(MonitorPeer(socket))
        }
        if list[1].revents != 0 { for event in inbox.take() { handle(event) } }
        if list[2].revents != 0, signals?.takeSignal() != nil { stop(within: Self.killPatience) }
        for (peer, result) in zip(peers, list.dropFirst(3)) where result.revents != 0 {
            serve(peer, result.revents)
        }
        passOnOwedCredit()
        keepDeadline()
    }

    private func mayRead(_ peer: MonitorPeer) -> Bool {
        peer.untaken < AgentMessage.window
    }

    private func keepDeadline() {
        guard let deadline, monotonicSeconds() >= deadline.time else { return }
        switch deadline.what {
        case .kill:
            runtime.signal(.main, SIGKILL)
            self.deadline = (monotonicSeconds() + Self.killPatience, .endVM)
        case .endVM:
            if exit == nil {
                exit = ContainerExit(
                    started: started, finished: .now, code: 128 + SIGKILL,
                    reason: "its guest did not end in time, so its VM was ended")
            }
            self.deadline = nil
            runtime.kill()
        }
    }

    // MARK: The runtime's events

    private func handle(_ event: RuntimeEvent) {
        switch event {
        case .agent(let event): handle(event)
        case .ended(let reason):
            if exit == nil { exit = lost(reason ?? "its VM ended without a word about its main process") }
            isOver = true
        }
    }

    private func handle(_ event: AgentEvent) {
        switch event {
        case .ready, .configured: break
        case .configurationFailed(let reason): end(code: 125, reason: reason)
        case .lost(let reason):
            exit = exit ?? lost(reason)
            runtime.kill()
        case .started(.main):
            mainHasStarted = true
            for peer in peers where peer.isAttached { peer.send(.started) }
        case .started(let session): sessions[session]?.send(.started)
        case .output(.main, let stream, let bytes): broadcast(bytes, stream)
        case .output(let session, let stream, let bytes): pass(bytes, stream, of: session)
        case .inputTaken(let session, let count):
            for (peer, count) in untaken[session]?.take(count) ?? [] where !peer.isLeaving {
                peer.send(.inputTaken(count))
                if !peer.flush() { drop(peer) }
            }
        case .terminated(.main, let termination, let outOfMemory):
            end(
                code: termination.exitCode,
                reason: outOfMemory ? "the guest ran out of memory: give it more with --memory" : nil,
                isOutOfMemory: outOfMemory)
        case .terminated(let session, let termination, _):
            finish(session, SessionEnd(code: termination.exitCode))
        case .failed(.main, let failure): end(code: failure.kind.exitCode, reason: failure.reason)
        case .failed(let session, let failure):
            finish(session, SessionEnd(code: failure.kind.exitCode, reason: failure.reason))
        }
    }

    /// The main process is over, or never was: so is the container.
    private func end(code: Int32, reason: String?, isOutOfMemory: Bool = false) {
        guard exit == nil else { return }
        exit = ContainerExit(
            started: started, finished: .now, code: code, reason: reason, isOutOfMemory: isOutOfMemory)
        runtime.powerOff()
        deadline = (monotonicSeconds() + Self.powerOffPatience, .endVM)
    }

    private func finish(_ session: AgentSession, _ end: SessionEnd) {
        untaken[session] = nil
        guard let peer = sessions.removeValue(forKey: session) else { return }
        peer.send(.ended(end))
        peer.role = .waiting
        peer.isLeaving = true
        if !peer.flush() { drop(peer) }
    }

    private func broadcast(_ bytes: [UInt8], _ stream: OutputStream) {
        // A full disk costs the log, not the container.
        do { try log.append(bytes, stream: stream) } catch { logProblem = "its log is incomplete: \(error)" }
        for peer in peers where peer.isAttached {
            peer.send(.output(stream, bytes))
            if !peer.flush() { drop(peer) }
        }
        owedCredit += bytes.count
    }

    private func passOnOwedCredit() {
        guard owedCredit > 0, !peers.contains(where: { $0.isAttached && $0.isSlow }) else { return }
        runtime.passOn(owedCredit, of: .main)
        owedCredit = 0
    }

    /// What nobody reads any more is passed on to nobody.
    private func pass(_ bytes: [UInt8], _ stream: OutputStream, of session: AgentSession) {
        guard let peer = sessions[session] else { return runtime.passOn(bytes.count, of: session) }
        peer.send(.output(stream, bytes))
        peer.owed += bytes.count
        if peer.flush() { giveCredit(peer, session) } else { drop(peer) }
    }

    private func giveCredit(_ peer: MonitorPeer, _ session: AgentSession) {
        guard !peer.isSlow, peer.owed > 0 else { return }
        runtime.passOn(peer.owed, of: session)
        peer.owed = 0
    }

    // MARK: Clients

    private func serve(_ peer: MonitorPeer, _ events: Int16) {
        guard peers.contains(where: { $0 === peer }) else { return }
        guard peer.flush() else { return drop(peer) }
        if case .session(let session) = peer.role { giveCredit(peer, session) }
        if peer.isLeaving {
            if peer.outgoing.isEmpty || events & Int16(POLLHUP) != 0 { drop(peer) }
            return
        }
        guard events & Int16(POLLIN | POLLHUP | POLLERR) != 0, mayRead(peer) || events & Int16(POLLHUP) != 0
        else { return }
        guard let messages = peer.receive() else { return drop(peer) }
        for message in messages where peers.contains(where: { $0 === peer }) { perform(message, for: peer) }
        if !peer.flush() { drop(peer) }
    }

    private func drop(_ peer: MonitorPeer) {
        guard peers.contains(where: { $0 === peer }) else { return }
        peers.removeAll { $0 === peer }
        switch peer.role {
        case .attached(true):
            // A terminal has no end: who leaves it may come back.
            if peer.isStarter, !container.configuration.hasTerminal { runtime.endInput(of: .main) }
        case .session(let session):
            // The process goes on, and nobody hears of it; but a copy is for its reader alone.
            sessions[session] = nil
            if peer.endsSession { runtime.signal(session, SIGKILL) }
            runtime.passOn(peer.owed, of: session)
            runtime.endInput(of: session)
        case .attached(false), .waiting, .fresh: break
        }
    }

    private func perform(_ message: MonitorMessage, for peer: MonitorPeer) {
        switch (peer.role, message) {
        case (.fresh, _): begin(message, for: peer)
        case (.attached(true), .input(let bytes)): send(bytes, of: peer, to: .main)
        case (.attached(true), .inputEnd): runtime.endInput(of: .main)
        case (.attached, .resize(let size)): runtime.resize(.main, to: size)
        case (.session(let session), .input(let bytes)): send(bytes, of: peer, to: session)
        case (.session(let session), .inputEnd): runtime.endInput(of: session)
        case (.session(let session), .resize(let size)): runtime.resize(session, to: size)
        case (.session(let session), .sessionSignal(let number)): runtime.signal(session, number)
        // What was sent before the client saw the end of its session.
        case (.waiting, .input), (.waiting, .inputEnd), (.waiting, .resize), (.waiting, .sessionSignal): break
        default: drop(peer)
        }
    }

    private func send(_ bytes: [UInt8], of peer: MonitorPeer, to session: AgentSession) {
        untaken[session, default: UntakenInput()].append(bytes.count, of: peer)
        runtime.send(bytes, to: session)
    }

    /// A client's one request.
    private func begin(_ message: MonitorMessage, for peer: MonitorPeer) {
        switch message {
        case .attach(let takesInput):
            peer.role = .attached(takesInput: takesInput)
            if mainHasStarted { peer.send(.started) }
        case .execute(let process): open(peer) { try runtime.execute(process) }
        case .pack(let path, let followsLink):
            open(peer, endsWithClient: true) { try runtime.pack(path, followsLink: followsLink) }
        case .unpack(let path, let placement): open(peer) { try runtime.unpack(to: path, placement) }
        case .wait: peer.role = .waiting
        case .stop(let seconds):
            peer.role = .waiting
            stop(within: Double(seconds))
        case .signal(let number):
            runtime.signal(.main, number)
            if number == SIGKILL { arm(Self.killPatience, .endVM) }
            answer(.done, to: peer)
        case .usage:
            answer(runtime.usage().map { .used($0) } ?? .refused("its VM does not run yet"), to: peer)
        case .input, .inputEnd, .resize, .sessionSignal, .started, .output, .inputTaken, .ended, .used, .done,
            .refused:
            drop(peer)
        }
    }

    private func answer(_ message: MonitorMessage, to peer: MonitorPeer) {
        peer.send(message)
        peer.role = .waiting
        peer.isLeaving = true
    }

    private func open(
        _ peer: MonitorPeer, endsWithClient: Bool = false, _ body: () throws -> AgentSession
    ) {
        guard exit == nil else { return answer(.refused("the container is ending"), to: peer) }
        do {
            let session = try body()
            sessions[session] = peer
            peer.role = .session(session)
            peer.endsSession = endsWithClient
        } catch { answer(.refused("\(error)"), to: peer) }
    }

    private func stop(within seconds: Double) {
        guard exit == nil else { return }
        runtime.signal(.main, container.configuration.stopSignal)
        arm(seconds, .kill)
    }

    /// The sooner of two deadlines holds.
    private func arm(_ seconds: Double, _ what: Deadline) {
        let time = monotonicSeconds() + seconds
        if let deadline, deadline.time <= time { return }
        deadline = (time, what)
    }
}

extension MonitorPeer {
    var isAttached: Bool { if case .attached = role { true } else { false } }
}
