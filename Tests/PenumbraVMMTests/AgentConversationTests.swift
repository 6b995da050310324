// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// The host's half against messages of an agent, sound ones and others.
@Suite struct AgentConversationTests {
    private var host = AgentConversation()
    private static let exec = AgentSession(rawValue: 1)

    private mutating func hear(_ messages: AgentMessage...) -> [AgentEvent] {
        host.receive(messages.flatMap(\.frame.bytes))
    }

    /// What the host says, taken off its queue.
    private mutating func said() throws -> [AgentMessage] {
        var decoder = FrameDecoder(maximumPayload: AgentMessage.maximumPayload)
        let bytes = host.outgoing
        host.sent(bytes.count)
        decoder.append(bytes)
        var messages: [AgentMessage] = []
        while let frame = try decoder.next() { messages.append(try AgentMessage(frame)) }
        return messages
    }

    private mutating func greet() throws {
        #expect(hear(.hello(version: 1, kernel: "6.1")) == [.ready(kernel: "6.1")])
        #expect(try said().first == .welcome(version: 1))
    }

    private mutating func startMain() throws {
        try greet()
        host.open(.main, .start(.main, ProcessSpec("a")))
        #expect(hear(.started(.main)) == [.started(.main)])
        _ = try said()
    }

    @Test mutating func nothingIsSaidBeforeTheAgentIsThere() throws {
        host.open(.main, .start(.main, ProcessSpec("a")))
        #expect(host.outgoing.isEmpty)
        #expect(hear(.hello(version: 1, kernel: "6.1")) == [.ready(kernel: "6.1")])
        #expect(try said() == [.welcome(version: 1), .start(.main, ProcessSpec("a"))])
    }

    @Test mutating func framesMayComeInPieces() throws {
        let bytes = AgentMessage.hello(version: 1, kernel: "x").frame.bytes
        for byte in bytes.dropLast() { #expect(host.receive([byte]) == []) }
        #expect(host.receive([bytes.last!]) == [.ready(kernel: "x")])
    }

    @Test mutating func aSessionEndsOnce() throws {
        try startMain()
        let termination = AgentMessage.terminated(.main, .killed(signal: 9), outOfMemory: true)
        #expect(hear(termination) == [.terminated(.main, .killed(signal: 9), outOfMemory: true)])
        #expect(!host.isOpen(.main))
        host.input([1], to: .main)
        host.endInput(of: .main)
        host.passOn(5, of: .main)
        #expect(try said() == [])
        #expect(hear(termination).map(\.isLoss) == [true])
    }

    @Test mutating func aFailureEndsASession() throws {
        try greet()
        host.open(Self.exec, .start(Self.exec, ProcessSpec("a")))
        let failure = AgentFailure(.notFound, "a: not found")
        #expect(hear(.failed(Self.exec, failure)) == [.failed(Self.exec, failure)])
        #expect(!host.isOpen(Self.exec))
    }

    @Test mutating func inputKeepsWithinItsCredit() throws {
        try startMain()
        let bytes = (0..<(AgentMessage.window + 100)).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        host.input(bytes, to: .main)
        host.endInput(of: .main)
        var sent: [UInt8] = []
        for message in try said() {
            guard case .input(.main, let chunk) = message else {
                throw ProtocolError.unexpected("\(message)")
            }
            #expect(chunk.count <= AgentMessage.chunk)
            sent += chunk
        }
        #expect(sent.count == AgentMessage.window)
        #expect(hear(.credit(.main, 60)) == [.inputTaken(.main, 60)])
        #expect(hear(.credit(.main, 60)) == [.inputTaken(.main, 60)])
        let rest = try said()
        #expect(rest.last == .inputEnd(.main))
        for case .input(.main, let chunk) in rest { sent += chunk }
        #expect(sent == bytes)
        host.input([1], to: .main)
        host.endInput(of: .main)
        #expect(try said() == [])
    }

    @Test mutating func outputComesAsFarAsItIsPassedOn() throws {
        try startMain()
        let window = [UInt8](repeating: 1, count: AgentMessage.window)
        #expect(hear(.output(.main, .standard, window)) == [.output(.main, .standard, window)])
        host.passOn(10, of: .main)
        #expect(try said() == [.credit(.main, 10)])
        #expect(hear(.output(.main, .error, Array(window.prefix(10)))).count == 1)
        #expect(hear(.output(.main, .standard, [1])).map(\.isLoss) == [true])
    }

    @Test mutating func numbersOfSessionsAreNotUsedTwice() throws {
        var numbers: Set<AgentSession> = [.main]
        for _ in 0..<AgentMessage.maximumSessions {
            let new = host.newSession()
            let session = try #require(new)
            #expect(numbers.insert(session).inserted)
            host.open(session, .pack(session, path: [], followsLink: false))
        }
        let another = host.newSession()
        #expect(another == nil)
    }

    @Test(arguments: [
        [AgentMessage.configured], [.hello(version: 2, kernel: "")],
        [.hello(version: 1, kernel: ""), .hello(version: 1, kernel: "")],
        [.hello(version: 1, kernel: ""), .powerOff], [.hello(version: 1, kernel: ""), .started(.main)],
        [.hello(version: 1, kernel: ""), .started(Self.exec), .started(Self.exec)],
        [.hello(version: 1, kernel: ""), .output(Self.exec, .standard, [1])],
        [.hello(version: 1, kernel: ""), .terminated(Self.exec, .exited(0), outOfMemory: false)],
        [.hello(version: 1, kernel: ""), .credit(Self.exec, 1)],
        [.hello(version: 1, kernel: ""), .started(Self.exec), .failed(Self.exec, AgentFailure(.setup, ""))],
        [.hello(version: 1, kernel: ""), .started(Self.exec), .output(Self.exec, .standard, [])],
        [.hello(version: 1, kernel: ""), .started(Self.exec), .credit(Self.exec, 0)],
        [
            .hello(version: 1, kernel: ""), .started(Self.exec),
            .terminated(Self.exec, .exited(256), outOfMemory: false),
        ],
        [
            .hello(version: 1, kernel: ""), .started(Self.exec),
            .terminated(Self.exec, .killed(signal: 65), outOfMemory: false),
        ],
    ])
    mutating func whatIsOutOfTurnEndsTheConversation(_ messages: [AgentMessage]) {
        host.open(Self.exec, .start(Self.exec, ProcessSpec("a")))
        let events = host.receive(messages.flatMap(\.frame.bytes))
        #expect(events.last?.isLoss == true)
        #expect(host.outgoing.isEmpty)
        #expect(hear(.configured) == [])
    }

    /// An agent that writes byte by byte and reads nothing makes no queue grow.
    @Test mutating func creditThatNobodyTakesIsAddedUp() throws {
        try startMain()
        for _ in 0..<10_000 {
            _ = hear(.output(.main, .standard, [1]))
            host.passOn(1, of: .main)
        }
        #expect(host.outgoing.count < 8192)
        var given = 0
        while !host.outgoing.isEmpty {
            for case .credit(.main, let count) in try said() { given += Int(count) }
        }
        #expect(given == 10_000)
    }

    @Test mutating func reasonsObeyNoTerminal() throws {
        try greet()
        host.open(Self.exec, .start(Self.exec, ProcessSpec("a")))
        let reason = "\u{1b}[2J\n" + String(repeating: "x", count: 5000)
        guard case .failed(_, let failure)? = hear(.failed(Self.exec, AgentFailure(.setup, reason))).first
        else {
            Issue.record("no failure")
            return
        }
        #expect(failure.reason.hasPrefix("?[2J?x") && failure.reason.count == 1000)
    }

    @Test mutating func bytesThatAreNoFrameEndTheConversation() {
        #expect(host.receive(Array("login: x".utf8)).map(\.isLoss) == [true])
    }

    @Test func eventsAndBytesGoThroughTheLink() throws {
        let events = EventList()
        let link = try AgentLink { events.append($0) }
        link.configure(
            ContainerSpec(hostname: "a", root: RootSpec(image: .directory("/"), changes: .memory(limit: 0))))
        link.start(ProcessSpec("a"))
        #expect(link.wake.takeEvent())
        #expect(link.flush { _ in 1 } == 0)
        link.receive(AgentMessage.hello(version: 1, kernel: "6.1").frame.bytes)
        link.lose("gone")
        #expect(events.all == [.ready(kernel: "6.1"), .lost(reason: "gone")])
    }
}

extension AgentEvent {
    fileprivate var isLoss: Bool { if case .lost = self { true } else { false } }
}
