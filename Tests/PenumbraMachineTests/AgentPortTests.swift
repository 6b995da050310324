// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraMachine

/// A machine's agent and its clients at one port. The port is a terminal: like a virtio port it is hung
/// up while no client has it open, and not when the next one has.
@Suite struct AgentPortTests {
    private final class Bench {
        private let terminal: PseudoTerminal
        private let port: AgentPort
        /// Always ready, so that the agent never sleeps for long.
        private let ready: Descriptor
        private var client: Descriptor?
        private var decoder = FrameDecoder()

        init() throws {
            signal(SIGIO, SIG_IGN)
            terminal = try PseudoTerminal(size: TerminalSize(rows: 24, columns: 80))
            ready = try EventDescriptor.open()
            port = AgentPort(terminal.master)
            try connect()
        }

        func connect() throws {
            let opened = try Descriptor(path: terminal.path, flags: O_RDWR | O_NOCTTY | O_NONBLOCK)
            var attributes = termios()
            #expect(tcgetattr(opened.number, &attributes) == 0)
            cfmakeraw(&attributes)
            #expect(tcsetattr(opened.number, TCSANOW, &attributes) == 0)
            client = opened
        }

        func disconnect() { client = nil }

        /// The agent does what there is to do, for as long as `seconds`, or until `done`.
        func serve(seconds: Double = 10, until done: () throws -> Bool = { false }) throws -> Bool {
            let end = monotonicSeconds() + seconds
            let awake = Watch(ready, POLLOUT) {}
            while monotonicSeconds() < end {
                try Agent.serveOnce([port], [awake])
                if try done() { return true }
                usleep(500)
            }
            return false
        }

        func send(_ bytes: [UInt8]) throws {
            var rest = bytes[...]
            let sent = try serve {
                rest = rest.dropFirst(try client?.write(some: rest) ?? 0)
                return rest.isEmpty
            }
            #expect(sent, "the agent takes what its client writes")
        }

        /// The next message, or nil if none comes in time.
        func receive(seconds: Double = 10) throws -> Message? {
            var message: Message?
            _ = try serve(seconds: seconds) {
                if let bytes = try client?.read(atMost: 4096) { decoder.append(bytes) }
                message = try decoder.next().map { try Message($0) }
                return message != nil
            }
            return message
        }

        func greet(_ nonce: UInt64) throws {
            try send(Frame.resynchronization)
            try send(Message.hello(version: Message.version, nonce: nonce).frame.bytes)
        }

        func expectWelcome(_ nonce: UInt64, sourceLocation: SourceLocation = #_sourceLocation) throws {
            guard case .welcome(_, nonce, _, _)? = try receive() else {
                Issue.record("no welcome", sourceLocation: sourceLocation)
                return
            }
        }

        func meet(_ nonce: UInt64 = 1) throws {
            try greet(nonce)
            try expectWelcome(nonce)
        }

        func run(_ script: String) throws {
            try send(Message.run(Command(["sh", "-c", script])).frame.bytes)
            try send(Message.inputEnd.frame.bytes)
        }
    }

    @Test func aSessionOutlivesAMomentOfHangUp() throws {
        let bench = try Bench()
        try bench.meet()
        try bench.run("sleep 0.6; echo done")
        bench.disconnect()
        _ = try bench.serve(seconds: 0.05)
        try bench.connect()
        #expect(try bench.receive() == .output(Array("done\n".utf8)))
        #expect(try bench.receive() == .terminated(.exited(0)))
    }

    @Test func aClientThatStaysAwayTakesItsProgramAlong() throws {
        let bench = try Bench()
        let directory = try TemporaryDirectory()
        try bench.meet()
        try bench.run("echo begun > \(directory.file("begun")); sleep 1; echo > \(directory.file("late"))")
        #expect(try bench.serve { Files.exists(directory.file("begun")) })
        bench.disconnect()
        _ = try bench.serve(seconds: 1.5)
        #expect(!Files.exists(directory.file("late")))
        try bench.connect()
        #expect(try bench.receive(seconds: 0.5) == nil)
    }

    @Test func whoGreetsTwiceIsWelcomedTwice() throws {
        let bench = try Bench()
        try bench.greet(5)
        try bench.greet(5)
        try bench.expectWelcome(5)
        try bench.expectWelcome(5)
        try bench.run("exit 3")
        #expect(try bench.receive() == .terminated(.exited(3)))
    }

    @Test func theNextClientStartsAnew() throws {
        let bench = try Bench()
        try bench.meet()
        try bench.run("sleep 0.3; echo of the first")
        bench.disconnect()
        _ = try bench.serve(seconds: 0.05)
        try bench.connect()
        try bench.meet(2)
        #expect(try bench.receive(seconds: 0.6) == nil)
    }

    @Test func twoWhoSendTheSameFileBothHaveItThere() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("sent")
        let benches = [try Bench(), try Bench()]
        for (number, bench) in benches.enumerated() {
            try bench.meet(UInt64(number))
        }
        for bench in benches { try bench.send(Message.put(path: path, mode: 0o600).frame.bytes) }
        for bench in benches { try bench.send(Message.data(Array("content".utf8)).frame.bytes) }
        for bench in benches {
            try bench.send(Message.dataEnd(mode: 0o600).frame.bytes)
            #expect(try bench.receive() == .done)
            #expect(Files.text(path) == "content")
        }
    }
}
