// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem
import Synchronization

/// What the host says to the agent of a container, and hears from it. Given to `XenGuest.run`, which
/// carries the bytes.
///
/// All calls are for any thread and never wait; what is said before the guest is up goes out when it
/// is. Events come one after the other, on the thread that runs the guest's devices.
public final class AgentLink: Sendable {
    /// No more sessions than AgentMessage.maximumSessions are served at a time.
    public struct TooManySessions: Error, Equatable, CustomStringConvertible {
        public var description: String {
            "the container serves no more than \(AgentMessage.maximumSessions) sessions at a time: "
                + "end some of those that run in it"
        }
    }

    private let conversation = Mutex(AgentConversation())
    private let handler: @Sendable (AgentEvent) -> Void
    /// Signalled when there is more to send.
    let wake: Descriptor

    /// `handler` takes the events; it must not wait, and may call this object.
    public init(handler: @escaping @Sendable (AgentEvent) -> Void) throws(SystemError) {
        self.handler = handler
        wake = try EventDescriptor.open()
    }

    private func say(_ body: (inout AgentConversation) -> Void) {
        conversation.withLock { body(&$0) }
        wake.signalEvent()
    }

    // MARK: The container

    /// Answered with `configured` or `configurationFailed`, which need not be waited for.
    public func configure(_ spec: ContainerSpec) { say { $0.send(.configure(spec)) } }

    /// Starts the main process, the session `.main`; once.
    public func start(_ spec: ProcessSpec) { say { $0.open(.main, .start(.main, spec)) } }

    /// Ends all processes, writes file systems back and ends the VM.
    public func powerOff() { say { $0.send(.powerOff) } }

    // MARK: Further sessions

    /// Starts another process in the container.
    public func execute(_ spec: ProcessSpec) throws(TooManySessions) -> AgentSession {
        try open { .start($0, spec) }
    }

    /// Sends what is at `path` in the container as a tar stream, the session's output. The names in it begin
    /// with the path's last component. Errors are lines of the error output and a status other than 0.
    public func pack(_ path: [UInt8], followsLink: Bool) throws(TooManySessions) -> AgentSession {
        try open { .pack($0, path: path, followsLink: followsLink) }
    }

    /// Unpacks the tar stream that is the session's input at `path` in the container.
    public func unpack(
        to path: [UInt8], _ placement: CopyPlacement
    ) throws(TooManySessions) -> AgentSession {
        try open { .unpack($0, path: path, placement) }
    }

    private func open(_ message: (AgentSession) -> AgentMessage) throws(TooManySessions) -> AgentSession {
        let session = conversation.withLock { conversation -> AgentSession? in
            guard let session = conversation.newSession() else { return nil }
            conversation.open(session, message(session))
            return session
        }
        guard let session else { throw TooManySessions() }
        wake.signalEvent()
        return session
    }

    // MARK: Within a session; one that has ended takes no notice

    /// Gives the process input. The caller keeps less than AgentMessage.window on its way, by what
    /// `inputTaken` tells: the rest would wait here, in memory.
    public func send(_ bytes: [UInt8], to session: AgentSession) { say { $0.input(bytes, to: session) } }

    public func endInput(of session: AgentSession) { say { $0.endInput(of: session) } }

    /// So many bytes of the session's output have found their reader: as many more may come.
    public func passOn(_ count: Int, of session: AgentSession) { say { $0.passOn(count, of: session) } }

    public func resize(_ session: AgentSession, to size: TerminalSize) {
        say { if $0.isOpen(session) { $0.send(.resize(session, size)) } }
    }

    /// To the session's process alone.
    public func signal(_ session: AgentSession, _ number: Int32) {
        say { if $0.isOpen(session) { $0.send(.signal(session, number)) } }
    }

    // MARK: The channel

    /// Takes bytes that the agent sent.
    func receive(_ bytes: [UInt8]) { tell(conversation.withLock { $0.receive(bytes) }) }

    /// The channel broke.
    func lose(_ reason: String) { tell(conversation.withLock { $0.lose(reason) }) }

    private func tell(_ events: [AgentEvent]) { for event in events { handler(event) } }

    /// Gives what waits to `send`, which says how much of it went.
    func flush(_ send: ([UInt8]) throws -> Int) rethrows -> Int {
        var total = 0
        // What is sent may make room for more.
        while true {
            let bytes = conversation.withLock { $0.outgoing }
            guard !bytes.isEmpty else { return total }
            let count = try send(bytes)
            conversation.withLock { $0.sent(count) }
            total += count
            if count < bytes.count { return total }
        }
    }
}
