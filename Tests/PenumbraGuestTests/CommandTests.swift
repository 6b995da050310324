// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

/// `penumbra sandbox` and its kin as a user meets them: what passes in and out, how ends are told apart,
/// VMs by name, and a line for each thing that cannot be.
@Suite(.serialized)
struct CommandTests {
    private static let kind = MachineKind(testDescription: "Linux 6.1, release core", core: "release")

    @Test("Commands in VMs of their own, VMs by name, and what cannot be booted")
    func commands() throws {
        let machine = try TestMachine(Self.kind)
        try streams(machine)
        try ends(machine)
        try names(machine)
        try images(machine)
        #expect(try machine.leaks() == "")
        try module(machine)
        #expect(try machine.complaints() == "")
    }

    // MARK: - Steps

    private func run(_ machine: TestMachine, _ words: String...) throws -> Finished {
        try penumbra(["sandbox", "--machine", machine.name] + words)
    }

    private func streams(_ machine: TestMachine) throws {
        let name = try run(machine, "--", "uname", "-r")
        #expect(name.status == 0 && name.output.hasPrefix("6.1."), "\(name.errors)")
        #expect(try run(machine, "--", "sh", "-c", "exit 42").status == 42)
        #expect(try run(machine, "--", "nosuchprogram").status == 127)
        let level = try run(machine, "--env", "A=b", "--cwd", "/tmp", "--", "sh", "-c", "cpl; echo $A $PWD")
        #expect(level.output == "CPL 3\nb /tmp\n")
        // Every byte value, those that a console takes for itself included.
        let piped = try shell(
            """
            printf '%b' "$(printf '\\\\0%03o' $(seq 0 255))" >"$1/bytes"
            cat "$1/bytes" "$1/bytes" | build/penumbra sandbox --machine \(machine.name) -- md5sum
            cat "$1/bytes" "$1/bytes" | md5sum
            """)
        let sums = piped.output.split(separator: "\n")
        #expect(sums.count == 2 && sums.first == sums.last, "\(piped.output)\(piped.errors)")
    }

    private func ends(_ machine: TestMachine) throws {
        expect(try run(machine, "--", "reboot", "-f"), 75, "the guest rebooted")
        expect(try run(machine, "--", "sh", "-c", "echo c >/proc/sysrq-trigger"), 74, "the guest panicked")
        expect(try run(machine, "--", "poweroff", "-f"), 125, "without a word about its command")
        expect(try run(machine, "--timeout", "8", "--", "sleep", "1000"), 124, "ran longer than 8.0 s")
    }

    private func names(_ machine: TestMachine) throws {
        let web = try RunningProgram(
            Tree.penumbra,
            ["sandbox", "--machine", machine.name, "--name", "web", "--", "sh", "-c", "sleep 1000 & wait"])
        try wait(machine, for: "web")
        expect(try run(machine, "--name", "web", "--", "true"), 125, "a VM 'web' is already running")
        let list = try penumbra("ps", "--machine", machine.name, "--format", "json")
        #expect(list.status == 0 && list.output.contains("\"web\""), "\(list.errors)")
        let counters = try penumbra("stats", "--machine", machine.name, "web").output
        #expect(counters.firstMatch(of: /hypercalls: [1-9]/) != nil, "\(counters)")
        expect(try penumbra("stats", "--machine", machine.name, "nobody"), 1, "no such container: 'nobody'")
        #expect(try penumbra("stop", "--machine", machine.name, "web").status == 0)
        #expect(try web.finished().status == 143)
        let deaf = try RunningProgram(
            Tree.penumbra, ["sandbox", "--machine", machine.name, "--name", "deaf", "--", "sleep", "1000"])
        try wait(machine, for: "deaf")
        #expect(try penumbra("kill", "--machine", machine.name, "deaf").status == 0)
        expect(try deaf.finished(), 72, "ended by another process's request")
    }

    /// Files that are no kernels, damaged ones, and sizes that do not fit.
    private func images(_ machine: TestMachine) throws {
        let made = try shell(
            """
            kernel=$(echo .build-cache/kernels/6.1/boot/vmlinuz-*)
            head -c 5000000 $kernel >"$1/short"
            cp $kernel "$1/damaged" && chmod u+w "$1/damaged"
            dd if=/dev/zero of="$1/damaged" bs=64 seek=60000 count=1 conv=notrunc status=none
            echo text >"$1/text"
            truncate -s 200M "$1/disk"
            """)
        #expect(made.status == 0, "\(made.errors)")
        func boot(_ kernel: String, _ words: String...) throws -> Finished {
            try penumbra(["boot", "--machine", machine.name, "--kernel", kernel] + words)
        }
        let folder = Self.folder.path
        expect(try boot("\(folder)/text"), 125, "neither a Linux bzImage (vmlinuz) nor an ELF program")
        expect(try boot("\(folder)/short"), 125, "it is truncated: 5000000 bytes")
        expect(try boot("\(folder)/damaged"), 125, "its compressed kernel (xz) is damaged")
        expect(try boot("\(folder)/absent"), 125, "No such file or directory")
        expect(try boot(Tree.image("cpl3").path), 125, "it carries no Xen PV notes")
        let kernel = try #require(try kernelFile())
        expect(try boot(kernel, "--memory", "16M"), 125, "give the guest more memory")
        expect(try boot(kernel, "--memory", "8G"), 125, "give it less")
        expect(
            try boot(kernel, "--memory", "128M", "--initrd", "\(folder)/disk"), 125,
            "the initial RAM disk has 200 MiB")
        expect(
            try boot(kernel, "--cmdline", String(repeating: "x", count: 5000)), 125, "longer than 1023 bytes")
    }

    /// On the host itself: who may not, and what is not there.
    private func module(_ machine: TestMachine) throws {
        try machine.put(Tree.image("xenpv/panic"), at: "/tmp/panic.elf")
        let boot = "penumbra boot --here --kernel /tmp/panic.elf"
        let asUser = try machine.shell(
            """
            mkdir -p /etc && echo user:x:1000:1000::/tmp:/bin/sh >/etc/passwd
            chmod 600 /dev/penumbra
            su user -c '\(boot)'
            """)
        expect(asUser, 125, "may not be opened by this user")
        let absent = try machine.shell("rmmod penumbra; \(boot)")
        expect(absent, 125, "/dev/penumbra does not exist")
    }

    // MARK: -

    private static let folder = FileManager.default.temporaryDirectory.appending(
        path: "penumbra-\(UUID().uuidString)")

    private func shell(_ script: String) throws -> Finished {
        try FileManager.default.createDirectory(at: Self.folder, withIntermediateDirectories: true)
        return try RunningProgram(
            URL(filePath: "/bin/bash"), ["-euo", "pipefail", "-c", script, "bash", Self.folder.path]
        ).finished()
    }

    private func kernelFile() throws -> String? {
        try shell("echo .build-cache/kernels/6.1/boot/vmlinuz-*").output.split(separator: "\n").first
            .map(String.init)
    }

    /// One line says why; where the machine is named comes before it.
    private func expect(
        _ result: Finished, _ status: Int32, _ text: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let lines = result.errors.split(separator: "\n").filter { !$0.contains("in machine") }
        #expect(result.status == status, "\(result.output)\(result.errors)", sourceLocation: sourceLocation)
        #expect(
            lines.filter { $0.contains(text) }.count == 1, "'\(text)' in \(result.errors)",
            sourceLocation: sourceLocation)
    }

    private func wait(_ machine: TestMachine, for name: String) throws {
        for _ in 0..<120 {
            let list = try penumbra("ps", "--machine", machine.name, "--format", "json").output
            // Its guest is up when it has made system calls.
            let counters = try penumbra("stats", "--machine", machine.name, name).output
            let calls = counters.firstMatch(of: /fast_syscalls: (\d+)/).flatMap { Int($0.1) } ?? 0
            if list.contains("\"\(name)\""), calls > 300 { return }
            usleep(500_000)
        }
        Issue.record("VM '\(name)' does not come up")
    }
}
