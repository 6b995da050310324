// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// What a container's processes can do to a process that the agent prepares for it (`exec`): they see it
/// before it has become another program. The user list is a pipe here, so that it waits in mid-way.
@Suite(.serialized, .enabled(if: AgentUnderTest.isPossible, "making containers takes root"))
struct PreparationTests {
    /// What this process has, and its children may have: containers of build machines lack some.
    private func ownCapabilities() throws -> Capabilities {
        let lines = try #require(Files.text("/proc/self/status")).split(separator: "\n")
        let words = try #require(lines.first { $0.hasPrefix("CapPrm:") }).split(
            whereSeparator: \.isWhitespace)
        return Capabilities(rawValue: try #require(UInt64(words[1], radix: 16)))
    }

    /// The main process looks at the other one, $p, with `look`.
    private func seen(by agent: AgentUnderTest, _ capabilities: Capabilities, _ look: String) throws -> String
    {
        try agent.makeContainer()
        let script = """
            rm /etc/passwd; mkfifo /etc/passwd; echo ready
            while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || break 2; done; done
            sleep 0.3; \(look); echo looked; : >/etc/passwd; sleep 1000
            """
        var main = ProcessSpec("sh", "-c", script)
        main.capabilities = capabilities
        agent.link.start(main)
        try agent.waitForOutput("ready\n", of: .main)
        let other = try agent.link.execute(ProcessSpec("true"))
        try agent.waitForOutput("looked\n", of: .main)
        #expect(try agent.waitForEnd(of: other).end == .terminated(other, .exited(0), outOfMemory: false))
        return agent.outcome(of: .main).text
    }

    /// With all capabilities that the agent has itself, but for the one to trace everything.
    @Test func nobodyMayTraceIt() throws {
        let ptrace = try #require(Capabilities(name: "SYS_PTRACE"))
        let agent = try AgentUnderTest(without: "sys_ptrace")
        let look = "readlink $p/exe; readlink $p/fd/0; readlink $p/root"
        let said = try seen(by: agent, ownCapabilities().subtracting(ptrace), look)
        #expect(said == "ready\nlooked\n", "\(said)")
    }

    /// Who may trace everything finds its report to the agent, and nothing else of the agent's.
    @Test func itHasNoDescriptorsOfTheAgents() throws {
        let look = """
            for f in $p/fd/*; do [ ${f##*/} -le 2 ] || readlink $f; done >/list
            grep -c socket /list; grep -c eventfd /list
            """
        #expect(try seen(by: AgentUnderTest(), ownCapabilities(), look) == "ready\n1\n0\nlooked\n")
    }
}
