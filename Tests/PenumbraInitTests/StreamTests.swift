// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// Streams, terminals and copies, through the built agent.
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

    // MARK: Copies

    @Test func aTreeGoesOutAndInAgain() throws {
        let agent = try AgentUnderTest.running()
        let make = """
            mkdir -p /t/d/empty /t/d/\(String(repeating: "long", count: 40)); cd /t/d; echo hello > file
            head -c 100000 /dev/urandom > big; chmod 4755 file; chown 1000:1001 big; ln file hard; ln -s ../x soft
            mkfifo pipe; mknod null c 1 3; cd long*; echo deep > $(printf '\\377')x; cd ..; touch -t 200102030405 file; mkdir /back
            """
        let made = try agent.shell(make) { $0.capabilities.formUnion(Capabilities(name: "MKNOD")!) }
        #expect(made.errorText == "")
        let packing = try agent.link.pack(Array("/t/d".utf8))
        let archive = try agent.waitForEnd(of: packing)
        #expect(
            archive.errorText == "" && archive.end == .terminated(packing, .exited(0), outOfMemory: false))
        #expect(archive.output.count % 512 == 0)
        let unpacking = try agent.link.unpack(to: Array("/back".utf8))
        agent.link.send(archive.output, to: unpacking)
        agent.link.endInput(of: unpacking)
        let unpacked = try agent.waitForEnd(of: unpacking)
        #expect(
            unpacked.errorText == "" && unpacked.end == .terminated(unpacking, .exited(0), outOfMemory: false)
        )
        let list =
            "find . | sort | while read -r x; do stat -c '%n %f %u %g %h %t %T %Y' \"$x\"; done; find . -type f | sort | xargs sha256sum; readlink soft"
        let before = try agent.shell("cd /t/d; \(list)").text
        #expect(before.split(separator: "\n").count == 15)
        #expect(try agent.shell("cd /back/d; \(list)").text == before)
    }

    @Test func anotherProgramReadsTheArchive() throws {
        let agent = try AgentUnderTest.running()
        let packing = try agent.link.pack(Array("/etc/passwd".utf8))
        let archive = try agent.waitForEnd(of: packing)
        #expect(try agent.run(ProcessSpec("tar", "-t"), input: archive.output).text == "passwd\n")
    }

    @Test func copiesNeverLeaveTheContainer() throws {
        let agent = try AgentUnderTest.running()
        // A link of the container's that leads up and out leads to its own root.
        _ = try agent.shell("ln -s /../../../../etc /out; echo box > /etc/hostname")
        let packing = try agent.link.pack(Array("/out/hostname".utf8))
        let archive = try agent.waitForEnd(of: packing)
        #expect(try agent.run(ProcessSpec("tar", "-xO"), input: archive.output).text == "box\n")
    }

    @Test func badCopiesFail() throws {
        let agent = try AgentUnderTest.running()
        let missing = try agent.waitForEnd(of: try agent.link.pack(Array("/nosuch".utf8)))
        #expect(missing.errorText == "lstat /nosuch: No such file or directory\n")
        for (input, complaint) in [
            ([UInt8](repeating: 65, count: 1024), "this is no tar archive"),
            ([UInt8](repeating: 65, count: 100), "ends in the middle"),
        ] {
            let session = try agent.link.unpack(to: Array("/tmp".utf8))
            agent.link.send(input, to: session)
            agent.link.endInput(of: session)
            let outcome = try agent.waitForEnd(of: session)
            #expect(outcome.errorText.contains(complaint))
            #expect(outcome.end == .terminated(session, .exited(1), outOfMemory: false))
        }
    }
}
