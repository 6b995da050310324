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
