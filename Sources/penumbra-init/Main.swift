// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// The first program of a container's VM. It talks with the VMM over the guest's second console
/// (AgentMessage has the protocol), makes the container's world (`Container`), starts processes in it
/// (`Launch`, `Child`) and carries their streams (`Session`), all in one thread around one poll(2)
/// (`Agent`).
///
///     penumbra-init                      as process 1: serves /dev/hvc1; at the end the VM powers off
///     penumbra-init FD DIRECTORY         as a process of a running system, for tests: serves descriptor
///                                        FD, keeps its mounts below DIRECTORY, exits at the end
@main enum Main {
    static func main() {
        init_ignore_broken_pipes()
        hideFromTracers()
        do throws(AgentFailure) {
            if getpid() == 1 {
                var agent = try Agent(channel: VirtualMachine.start(), layout: VirtualMachine.layout)
                try agent.serve()
                VirtualMachine.powerOff()
            } else {
                let (channel, layout) = try testArguments()
                var agent = try Agent(channel: channel, layout: layout)
                try agent.serve()
            }
        } catch { fail(error.reason) }
    }

    /// A process that the agent prepares for the container is seen by those in it before it has given up
    /// what only the agent may, or has become another program: with this, which is inherited up to exec,
    /// none of them may trace it or look into it, but with CAP_SYS_PTRACE (CVE-2016-9962 was such a hole).
    private static func hideFromTracers() {
        guard init_hide_from_tracers() != 0 else { return }
        fail("prctl PR_SET_DUMPABLE: \(String(cString: strerror(errno)))")
    }

    /// Without its agent a container is lost: the host sees the VM end.
    private static func fail(_ reason: String) -> Never {
        _ = try? Descriptor(adopting: STDERR_FILENO).write(Array("penumbra-init: \(reason)\n".utf8))
        if getpid() == 1 { VirtualMachine.powerOff() }
        exit(1)
    }

    private static func testArguments() throws(AgentFailure) -> (Descriptor, Layout) {
        // proc(5): each ends with a zero byte.
        let words = (Files.text("/proc/self/cmdline") ?? "").split(separator: "\0")
        guard words.count == 3, let number = Int32(words[1]), words[2].hasPrefix("/") else {
            throw AgentFailure(.setup, "usage: penumbra-init FD DIRECTORY (it is to be a VM's first process)")
        }
        return (Descriptor(adopting: number), Layout(base: String(words[2])))
    }
}
