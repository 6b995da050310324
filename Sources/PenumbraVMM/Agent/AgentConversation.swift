// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem

/// The host's half of AgentMessage's protocol, without the channel: bytes in, events and bytes out.
/// The agent runs in the guest and may say anything; what it says in error ends the conversation.
struct AgentConversation {
    private enum State {
        /// Nothing may be sent: the guest's end of the channel may still change bytes.
        case waiting
        case open
        case lost
    }

    private var state = State.waiting
    private var decoder = FrameDecoder(maximumPayload: AgentMessage.maximumPayload)
    private var sessions: [AgentSession: Session] = [:]
    private var nextSession: UInt32 = 1
    private var queue: [UInt8] = []
    /// Credit that is to be given when the queue is short: a guest that reads nothing and writes much must
    /// not make it grow.
    private var owed: [AgentSession: UInt32] = [:]
    private static let shortQueue = 4096
    /// Of a reason that the agent gives, in characters.
    private static let reasonLimit = 1000

    private struct Session {
        /// The agent was told that the input ends, or is to be told behind what waits.
        enum End { case none, waits, told }

        /// What we may send, and what waits for that.
        var input = Credit()
        var unsent: [UInt8] = []
        var end = End.none
        /// What the agent may send.
        var output = Credit()
        var hasStarted = false

        /// As much as the agent has credit for; the end behind the last byte.
        mutating func takeMessages(for number: AgentSession) -> [AgentMessage] {
            var messages: [AgentMessage] = []
            while !unsent.isEmpty, input.available > 0 {
                let chunk = Array(unsent.prefix(min(input.available, AgentMessage.chunk)))
                _ = input.spend(chunk.count)
                unsent.removeFirst(chunk.count)
                messages.append(.input(number, chunk))
            }
            if unsent.isEmpty, end == .waits {
                end = .told
                messages.append(.inputEnd(number))
            }
            return messages
        }
    }

    // MARK: What goes out

    /// Bytes for the channel.
    var outgoing: [UInt8] { state == .open ? queue : [] }

    mutating func sent(_ count: Int) {
        queue.removeFirst(count)
        giveCredit()
    }

    private mutating func giveCredit() {
        while queue.count < Self.shortQueue, let (number, count) = owed.popFirst() {
            send(.credit(number, count))
        }
    }

    /// Goes out as soon as the agent is there.
    mutating func send(_ message: AgentMessage) {
        if state != .lost { queue += message.frame.bytes }
    }

    /// Sends the message that begins a session.
    mutating func open(_ session: AgentSession, _ message: AgentMessage) {
        sessions[session] = Session()
        send(message)
    }

    /// A number that no session has; nil: as many are open as may be.
    mutating func newSession() -> AgentSession? {
        guard sessions.count < AgentMessage.maximumSessions else { return nil }
        while true {
            let session = AgentSession(rawValue: nextSession)
            nextSession = nextSession == .max ? 1 : nextSession + 1
            if sessions[session] == nil { return session }
        }
    }

    func isOpen(_ session: AgentSession) -> Bool { sessions[session] != nil }

    /// What is meant for a session that has ended goes nowhere, here and below.
    mutating func input(_ bytes: [UInt8], to number: AgentSession) {
        guard sessions[number]?.end == Session.End.none else { return }
        sessions[number]?.unsent += bytes
        sendInput(of: number)
    }

    mutating func endInput(of number: AgentSession) {
        guard sessions[number]?.end == Session.End.none else { return }
        sessions[number]?.end = .waits
        sendInput(of: number)
    }

    private mutating func sendInput(of number: AgentSession) {
        for message in sessions[number]?.takeMessages(for: number) ?? [] { send(message) }
    }

    mutating func passOn(_ count: Int, of number: AgentSession) {
        guard count > 0, sessions[number] != nil else { return }
        guard sessions[number]?.output.give(count) == true else {
            preconditionFailure("more was passed on than came")
        }
        owed[number, default: 0] += UInt32(count)
        giveCredit()
    }

    // MARK: What comes in

    /// Takes bytes of the channel.
    mutating func receive(_ bytes: [UInt8]) -> [AgentEvent] {
        guard state != .lost else { return [] }
        var events: [AgentEvent] = []
        decoder.append(bytes)
        do throws(ProtocolError) {
            while let frame = try decoder.next() {
                if let event = try take(AgentMessage(frame)) { events.append(event) }
            }
        } catch { events += lose("\(error)") }
        return events
    }

    /// The channel broke.
    mutating func lose(_ reason: String) -> [AgentEvent] {
        guard state != .lost else { return [] }
        state = .lost
        queue = []
        owed = [:]
        sessions = [:]
        return [.lost(reason: reason)]
    }

    private mutating func take(_ message: AgentMessage) throws(ProtocolError) -> AgentEvent? {
        if case .hello(let version, let kernel) = message { return try welcome(version, kernel) }
        guard state == .open else { throw .unexpected("something before its hello") }
        switch message {
        case .configured: return .configured
        case .configurationFailed(let reason): return .configurationFailed(Self.printable(reason))
        case .started, .output, .credit, .terminated, .failed:
            return try takeOfSession(message)
        case .hello, .welcome, .configure, .start, .pack, .unpack, .input, .inputEnd, .resize, .signal,
            .powerOff:
            throw .unexpected("one of the host's messages")
        }
    }

    private mutating func welcome(_ version: UInt32, _ kernel: String) throws(ProtocolError) -> AgentEvent {
        guard state == .waiting else { throw .unexpected("a second hello") }
        guard version == AgentMessage.version else { throw .otherVersion(version) }
        state = .open
        // Before all that has waited for this.
        queue = AgentMessage.welcome(version: AgentMessage.version).frame.bytes + queue
        return .ready(kernel: kernel)
    }

    private mutating func takeOfSession(_ message: AgentMessage) throws(ProtocolError) -> AgentEvent {
        guard let number = message.session, var session = sessions[number] else {
            throw .unexpected("a message of no session")
        }
        defer { if sessions[number] != nil { sessions[number] = session } }
        switch message {
        case .started where !session.hasStarted:
            session.hasStarted = true
            return .started(number)
        case .output(_, let stream, let bytes) where session.hasStarted && !bytes.isEmpty:
            guard session.output.spend(bytes.count) else { throw .unexpected("more than it has credit for") }
            return .output(number, stream, bytes)
        case .credit(_, let count) where count > 0:
            guard session.input.give(Int(count)) else { throw .unexpected("credit for what it has not got") }
            for message in session.takeMessages(for: number) { send(message) }
            return .inputTaken(number, Int(count))
        case .terminated(_, let termination, let outOfMemory) where session.hasStarted:
            end(number)
            return .terminated(number, termination, outOfMemory: outOfMemory)
        case .failed(_, let failure) where !session.hasStarted:
            end(number)
            return .failed(number, AgentFailure(failure.kind, Self.printable(failure.reason)))
        default: throw .unexpected("a session's messages")
        }
    }

    private mutating func end(_ number: AgentSession) {
        sessions[number] = nil
        owed[number] = nil
    }

    /// A reason goes to a user's terminal: without what a terminal would obey, and not for ever.
    private static func printable(_ reason: String) -> String {
        String(
            String.UnicodeScalarView(
                reason.unicodeScalars.prefix(reasonLimit).map {
                    $0.properties.generalCategory == .control ? "?" : $0
                }))
    }
}
