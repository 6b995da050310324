// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// Processes in a container that the built agent makes on this system.
@Suite(.serialized, .enabled(if: AgentUnderTest.isPossible, "making containers takes root"))
struct ProcessTests {
    @Test(arguments: [
        ("exit 0", Termination.exited(0)), ("exit 42", .exited(42)), ("exit 255", .exited(255)),
    ])
    func theMainProcessStatusArrives(_ script: String, _ termination: Termination) throws {
        let agent = try AgentUnderTest()
        try agent.makeContainer()
        agent.link.start(ProcessSpec("sh", "-c", script))
        #expect(try agent.waitForEnd(of: .main).end == .terminated(.main, termination, outOfMemory: false))
        #expect(agent.events.prefix(3).dropFirst() == [.configured, .started(.main)])
        try agent.powerOff()
    }

    @Test func aSignalEndsAProcess() throws {
        let agent = try AgentUnderTest.running()
        let session = try agent.link.execute(ProcessSpec("sh", "-c", "echo on; exec sleep 1000"))
        try agent.waitForOutput("on\n", of: session)
        agent.link.signal(session, SIGUSR1)
        #expect(
            try agent.waitForEnd(of: session).end
                == .terminated(session, .killed(signal: SIGUSR1), outOfMemory: false))
        #expect(try agent.shell("kill -SEGV $$").end.map { "\($0)" }?.contains("signal: 11") == true)
        // A first process gets signals that it has a handler for, and SIGKILL.
        agent.link.signal(.main, SIGTERM)
        #expect(try agent.waitForEnd(of: .main).end == .terminated(.main, .exited(0), outOfMemory: false))
    }

    @Test func theEndOfTheMainProcessIsEverybodys() throws {
        let agent = try AgentUnderTest.running()
        let session = try agent.link.execute(ProcessSpec("sh", "-c", "echo on; sleep 1000"))
        try agent.waitForOutput("on\n", of: session)
        agent.link.signal(.main, SIGKILL)
        #expect(
            try agent.waitForEnd(of: session).end
                == .terminated(session, .killed(signal: SIGKILL), outOfMemory: false))
        guard case .terminated(.main, .killed(signal: SIGKILL), _) = try agent.waitForEnd(of: .main).end
        else {
            throw AgentUnderTest.Silence(waitedFor: "SIGKILL")
        }
        let late = try agent.link.execute(ProcessSpec("true"))
        guard case .failed(late, let failure) = try agent.waitForEnd(of: late).end else {
            throw AgentUnderTest.Silence(waitedFor: "a failure")
        }
        #expect(failure.kind == .setup && failure.reason.contains("does not run"))
    }

    @Test(arguments: [
        (ProcessSpec("nosuchprogram"), AgentFailure.Kind.notFound),
        (ProcessSpec("/etc/nosuchprogram"), .notFound), (ProcessSpec("/etc/passwd"), .notExecutable),
        (ProcessSpec("/etc"), .notExecutable), (ProcessSpec(""), .setup), (ProcessSpec(), .setup),
    ])
    func whatCannotBeStartedFails(_ spec: ProcessSpec, _ kind: AgentFailure.Kind) throws {
        let agent = try AgentUnderTest.running()
        let session = try agent.link.execute(spec)
        guard case .failed(session, let failure) = try agent.waitForEnd(of: session).end else {
            throw AgentUnderTest.Silence(waitedFor: "a failure")
        }
        #expect(failure.kind == kind)
    }

    @Test func aMainProcessThatCannotBeStartedFails() throws {
        let agent = try AgentUnderTest()
        try agent.makeContainer()
        agent.link.start(ProcessSpec("nosuchprogram"))
        let early = try agent.link.execute(ProcessSpec("true"))
        guard case .failed(.main, let failure) = try agent.waitForEnd(of: .main).end else {
            throw AgentUnderTest.Silence(waitedFor: "a failure")
        }
        #expect(failure.kind == .notFound && failure.reason.contains("nosuchprogram"))
        guard case .failed(early, _) = try agent.waitForEnd(of: early).end else {
            throw AgentUnderTest.Silence(waitedFor: "a failure")
        }
    }

    @Test func withoutARootThereIsNoContainer() throws {
        let agent = try AgentUnderTest()
        agent.link.configure(
            ContainerSpec(
                hostname: "a", root: RootSpec(image: .directory("/nosuch"), changes: .memory(limit: 0))))
        agent.link.start(ProcessSpec("true"))
        let reason = try agent.wait(for: "a failure") { event -> String? in
            if case .configurationFailed(let reason) = event { reason } else { nil }
        }
        #expect(reason.contains("overlay"))
        guard case .failed(.main, _) = try agent.waitForEnd(of: .main).end else {
            throw AgentUnderTest.Silence(waitedFor: "a failure")
        }
    }

    // MARK: What a process finds

    @Test func argumentsPassUnchanged() throws {
        let agent = try AgentUnderTest.running()
        var spec = ProcessSpec("printf", "%s|", "a b", "", "'\"$x\n")
        spec.arguments.append([0xff, 0xc3])
        #expect(try agent.run(spec).output == Array("a b||'\"$x\n|".utf8) + [0xff, 0xc3] + Array("|".utf8))
    }

    @Test func theEnvironmentIsAsAskedFor() throws {
        let agent = try AgentUnderTest.running()
        let plain = try agent.run(ProcessSpec("env")).text.split(separator: "\n").sorted()
        #expect(
            plain == [
                "HOME=/root", "HOSTNAME=box",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ])
        var spec = ProcessSpec("/bin/env")
        spec.environment = ["A=1", "PATH=/x", "A=2", "HOME="].map { Array($0.utf8) }
        #expect(
            try agent.run(spec).text.split(separator: "\n").sorted() == [
                "A=2", "HOME=", "HOSTNAME=box", "PATH=/x",
            ])
    }

    @Test func theDirectoryIsMadeIfItIsMissing() throws {
        let agent = try AgentUnderTest.running()
        #expect(try agent.shell("pwd") { $0.directory = "/tmp" }.text == "/tmp\n")
        #expect(try agent.shell("pwd") { $0.directory = "/new/place" }.text == "/new/place\n")
        #expect(try agent.shell("pwd").text == "/\n")
    }

    @Test(arguments: [
        ("", "0:0 0 10\n/root\n"), ("guest", "1000:1001 1001 10\n/tmp\n"),
        ("1000", "1000:1001 1001 10\n/tmp\n"),
        ("guest:wheel", "1000:10 10\n/tmp\n"), ("77:88", "77:88 88\n/\n"), ("77", "77:0 0\n/\n"),
    ])
    func usersAreLookedUp(_ user: String, _ found: String) throws {
        let agent = try AgentUnderTest.running()
        #expect(
            try agent.shell("echo $(id -u):$(id -g) $(id -G); echo $HOME") { $0.user = user }.text == found)
    }

    @Test(arguments: ["nobody", "guest:nogroup", "guest:-1"]) func unknownUsersAreRefused(_ user: String)
        throws
    {
        let agent = try AgentUnderTest.running()
        guard case .failed(_, let failure) = try agent.shell("true", { $0.user = user }).end else {
            throw AgentUnderTest.Silence(waitedFor: "a failure")
        }
        #expect(failure.kind == .setup && failure.reason.contains("is not in the container's"))
    }

    @Test func limitsHold() throws {
        let agent = try AgentUnderTest.running()
        let script = "grep -E 'open files|core file' /proc/self/limits | tr -s ' '"
        let limits = try agent.shell(script) {
            $0.limits = [
                ResourceLimit(.nofile, soft: 100, hard: 200), ResourceLimit(.core, soft: 0, hard: .max),
            ]
        }
        #expect(limits.text == "Max core file size 0 unlimited bytes \nMax open files 100 200 files \n")
    }

    @Test func capabilitiesAreTheGivenOnes() throws {
        let agent = try AgentUnderTest.running()
        let script =
            "grep Cap /proc/self/status | cut -f 2 | tr '\\n' ' '; grep NoNew /proc/self/status | cut -f 2"
        let none = "0000000000000000"
        let standard = "00000000a00425fb"
        #expect(try agent.shell(script).text == "\(none) \(standard) \(standard) \(standard) \(none) 0\n")
        let guest = try agent.shell(script) {
            $0.user = "guest"
            $0.hasNoNewPrivileges = true
        }
        #expect(guest.text == "\(none) \(none) \(none) \(standard) \(none) 1\n")
        let one = "0000000000001000"
        #expect(
            try agent.shell(script) { $0.capabilities = Capabilities(rawValue: 1 << 12) }.text
                == "\(none) \(one) \(one) \(one) \(none) 0\n")
    }

    @Test func signalsAreAtTheirDefaults() throws {
        let agent = try AgentUnderTest.running()
        let outcome = try agent.run(ProcessSpec("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"))
        #expect(outcome.text == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n")
    }

    @Test func nothingOfTheAgentsIsOpen() throws {
        let agent = try AgentUnderTest.running()
        // The fourth is the directory that ls itself reads.
        #expect(try agent.run(ProcessSpec("ls", "-1", "/proc/self/fd")).text == "0\n1\n2\n3\n")
    }

    @Test func pipesCanBeOpenedAgain() throws {
        let agent = try AgentUnderTest.running()
        let outcome = try agent.shell("echo out > /dev/stdout; echo err > /dev/stderr") { $0.user = "guest" }
        #expect(outcome.text == "out\n" && outcome.errorText == "err\n")
    }

    @Test func processNumbersAreTheContainers() throws {
        let agent = try AgentUnderTest()
        try agent.makeContainer()
        agent.link.start(ProcessSpec("sh", "-c", "echo $$; ps -o pid= | wc -l"))
        #expect(try agent.waitForEnd(of: .main).text.split(separator: "\n").first == "1")
    }
}
