// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// Streams and terminals, through the built agent.
@Suite(.serialized, .enabled(if: AgentUnderTest.isPossible, "making containers takes root"))
struct StreamTests {
    @Test func bytesPassBothWaysUnchanged() throws {
        let agent = try AgentUnderTest.running()
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) }
        #expect(try agent.run(ProcessSpec("cat"), input: bytes).output == bytes)
    }

    @Test func bothOutputsArriveApart() throws {
        let agent = try AgentUnderTest.running()
        let outcome = try agent.shell("echo out; echo err >&2; exit 3")
        #expect(outcome.text == "out\n" && outcome.errorText == "err\n")
    }

    @Test func theLastWordsOfAProcessArrive() throws {
        let agent = try AgentUnderTest()
        try agent.makeContainer()
        agent.link.start(ProcessSpec("sh", "-c", "seq 1 20000"))
        #expect(try agent.waitForEnd(of: .main).text.hasSuffix("\n19999\n20000\n"))
    }

    @Test func aSessionThatNobodyReadsStopsNoOther() throws {
        let agent = try AgentUnderTest.running()
        let endless = try agent.link.execute(ProcessSpec("yes"))
        agent.leaveUnread(endless)
        _ = try agent.wait(for: "its start") { $0 == .started(endless) ? true : nil }
        #expect(try agent.shell("seq 1 100000 | tail -1").text == "100000\n")
        let count = agent.outcome(of: endless).output.count
        #expect(count == AgentMessage.window)
        agent.link.signal(endless, SIGKILL)
        // What is in its pipe has no credit: its end waits for the reader.
        usleep(200_000)
        #expect(!agent.events.contains { if case .terminated(endless, _, _) = $0 { true } else { false } })
        agent.link.passOn(AgentMessage.window, of: endless)
        _ = try agent.wait(for: "more") { _ in agent.outcome(of: endless).output.count > count ? true : nil }
    }

    @Test func aBackgroundProcessDoesNotKeepASessionOpen() throws {
        let agent = try AgentUnderTest.running()
        #expect(try agent.shell("sleep 1000 & echo gone").text == "gone\n")
    }

    @Test func manySessionsRunAtOnce() throws {
        let agent = try AgentUnderTest.running()
        let sessions = try (0..<40).map {
            try agent.link.execute(ProcessSpec("sh", "-c", "read x; echo \($0) $x"))
        }
        for session in sessions.reversed() { agent.link.send(Array("go\n".utf8), to: session) }
        for (number, session) in sessions.enumerated() {
            #expect(try agent.waitForEnd(of: session).text == "\(number) go\n")
        }
    }

    // MARK: Terminals

    @Test func aTerminalIsTheProcesss() throws {
        let agent = try AgentUnderTest.running()
        var spec = ProcessSpec(
            "sh", "-c", "tty; stty size; echo $TERM; read line; echo got $line; sleep 1000")
        spec.terminal = TerminalSize(rows: 33, columns: 101)
        let session = try agent.link.execute(spec)
        try agent.waitForOutput("xterm", of: session)
        agent.link.send(Array("hello\r".utf8), to: session)
        try agent.waitForOutput("got hello", of: session)
        let text = agent.outcome(of: session).text
        #expect(text.hasPrefix("/dev/pts/0\r\n33 101\r\nxterm\r\n"))
        // Control-C at a terminal.
        agent.link.send([3], to: session)
        #expect(
            try agent.waitForEnd(of: session).end
                == .terminated(session, .killed(signal: SIGINT), outOfMemory: false))
    }

    @Test func aTerminalsSizeChanges() throws {
        let agent = try AgentUnderTest()
        try agent.makeContainer()
        var spec = ProcessSpec(
            "sh", "-c", "trap 'stty size; exit 7' WINCH; echo on; while :; do sleep 0.1; done")
        spec.terminal = TerminalSize(rows: 1, columns: 2)
        agent.link.start(spec)
        try agent.waitForOutput("on\r\n", of: .main)
        agent.link.resize(.main, to: TerminalSize(rows: 50, columns: 132))
        let outcome = try agent.waitForEnd(of: .main)
        #expect(outcome.end == .terminated(.main, .exited(7), outOfMemory: false))
        #expect(outcome.text.contains("50 132"))
    }

    @Test func usersMayOpenTheirTerminal() throws {
        let agent = try AgentUnderTest()
        try agent.makeContainer()
        var spec = ProcessSpec(
            "sh", "-c", "echo a > /dev/tty; echo b > $(tty); echo c > /dev/console; echo d > /dev/stdout")
        spec.terminal = TerminalSize(rows: 1, columns: 2)
        spec.user = "guest"
        agent.link.start(spec)
        #expect(try agent.waitForEnd(of: .main).text == "a\r\nb\r\nc\r\nd\r\n")
    }
}
