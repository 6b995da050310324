// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// What the agent makes of a container's description: mounts, files, names.
@Suite(.serialized, .enabled(if: AgentUnderTest.isPossible, "making containers takes root"))
struct RootTests {
    @Test func theImageStaysAsItIs() throws {
        let agent = try AgentUnderTest.running()
        #expect(
            try agent.shell("echo x > /etc/passwd; rm -r /tmp; cat /etc/passwd; ls -d /tmp").text == "x\n")
        #expect(Files.text("\(agent.directory.path)/image/etc/passwd")?.hasPrefix("root:") == true)
        #expect(Files.exists("\(agent.directory.path)/image/tmp"))
    }

    /// Else du(1) and tar(1) skip files as another file system's, and a log's reader loses its file.
    @Test func theImageAndItsChangesAreOneFileSystem() throws {
        let agent = try AgentUnderTest.running()
        let script = """
            before=$(stat -c %d:%i /etc/passwd); echo >>/etc/passwd; after=$(stat -c %d:%i /etc/passwd)
            [ $before = $after ] && echo same; stat -c %d / /etc /etc/passwd /etc/group | sort -u | wc -l
            """
        #expect(try agent.shell(script).text == "same\n1\n")
    }

    @Test func aReadOnlyRootHasWritableMounts() throws {
        let agent = try AgentUnderTest.running {
            $0.root.isReadOnly = true
            $0.mounts = [MountSpec(.memory(limit: 1 << 20, permissions: 0o1777), at: "/scratch/deep")]
        }
        let outcome = try agent.shell(
            "echo a > /file; echo b > /scratch/deep/file; cat /scratch/deep/file; stat -c %a /scratch/deep")
        #expect(outcome.text == "b\n1777\n" && outcome.errorText.contains("Read-only file system"))
        let tooMuch = try agent.shell("cat /dev/zero > /scratch/deep/big; stat -c %s /scratch/deep/big")
        #expect(tooMuch.errorText.contains("No space left"))
        #expect(try #require(Int(tooMuch.text.dropLast())) <= 1 << 20)
    }

    @Test func filesLieOverTheImage() throws {
        let agent = try AgentUnderTest.running {
            $0.files = [
                FileSpec(path: "/etc/hosts", content: Array("127.0.0.1 localhost\n".utf8)),
                FileSpec(path: "/etc/passwd", content: Array("other:x:5:5::/:\n".utf8), permissions: 0o600),
                FileSpec(path: "/new/dir/file", content: []),
            ]
        }
        #expect(
            try agent.shell("cat /etc/hosts /etc/passwd; stat -c %a /etc/passwd; ls /new/dir").text
                == "127.0.0.1 localhost\nother:x:5:5::/:\n600\nfile\n")
        #expect(Files.text("\(agent.directory.path)/image/etc/passwd")?.hasPrefix("root:") == true)
    }

    /// An image's link where a mount belongs leads to a place in the container.
    @Test func hostileLinksOfAnImageLeadNowhereElse() throws {
        let agent = try AgentUnderTest()
        let outside = "\(agent.directory.path)/outside"
        try Files.makeDirectories(outside)
        try agent.makeContainer {
            $0.mounts = [MountSpec(.memory(limit: 0, permissions: 0o755), at: "/trap/data")]
            $0.files = [FileSpec(path: "/etc/resolv.conf", content: Array("x\n".utf8))]
            symlink("../../../../../../..\(outside)", "\(agent.directory.path)/image/trap")
            symlink("/run/nosuch/resolv.conf", "\(agent.directory.path)/image/etc/resolv.conf")
        }
        agent.link.start(ProcessSpec("sh", "-c", "cat /etc/resolv.conf; grep -c /data /proc/mounts"))
        let outcome = try agent.waitForEnd(of: .main)
        guard case .failed(.main, let failure) = outcome.end else {
            #expect(outcome.text == "x\n1\n")
            return #expect(Files.list(outside).isEmpty)
        }
        // The link leads to a place that the container does not have.
        #expect(failure.reason.contains("/trap/data"))
        #expect(Files.list(outside).isEmpty)
    }

    @Test func theKernelsInterfacesAreGuarded() throws {
        let agent = try AgentUnderTest.running()
        let script = """
            for x in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/fs/cgroup/cgroup.procs; do
                (echo 0 > $x) 2>/dev/null && echo wrote $x; done
            cat /proc/kcore | wc -c; ls /sys/firmware; ls /dev | tr '\\n' ' '; hostname
            """
        let outcome = try agent.shell(script)
        #expect(
            outcome.text
                == "0\nfd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero box\n")
    }

    /// Root of a user namespace may mount what its creator sees whole.
    @Test func whatIsHiddenIsHiddenInAUserNamespaceToo() throws {
        let agent = try AgentUnderTest.running()
        let inside = "echo in; mkdir /tmp/p; mount -t proc proc /tmp/p 2>&1; ls /tmp/p"
        let outcome = try agent.shell("unshare -Urmpf sh -c '\(inside)'")
        #expect(outcome.text == "in\nmount: permission denied (are you root?)\n", "\(outcome)")
    }

    @Test func theLoopbackInterfaceIsUp() throws {
        let agent = try AgentUnderTest.running()
        #expect(try agent.shell("ping -c 1 -w 5 127.0.0.1 > /dev/null && echo up").text == "up\n")
    }

    /// Where nothing of it is left, its disks can be taken away.
    @Test func theEndLeavesNoMounts() throws {
        let agent = try AgentUnderTest()
        let disk = "\(agent.directory.path)/disk"
        try agent.makeContainer {
            $0.mounts = [MountSpec(.memory(limit: 0, permissions: 0o755), at: "/m")]
        }
        agent.link.start(ProcessSpec("sleep", "1000"))
        _ = try agent.wait(for: "its start") { $0 == .started(.main) ? true : nil }
        try agent.powerOff()
        #expect(!Files.exists(disk))
        #expect(Files.text("/proc/mounts")?.contains(agent.directory.path) == false)
    }

    @Test func groupsOfProcessesAreTheContainers() throws {
        let agent = try AgentUnderTest.running()
        #expect(try agent.shell("cat /proc/self/cgroup").text.split(separator: "\n").contains("0::/"))
    }
}
