// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

/// Disks of Linux guests: what is written is what is read, after a reboot and after a crash too.
@Suite(.serialized)
struct DiskTests {
    private static let verifiedSteps = Scale.isFull ? 20_000 : 1_000
    private static let kills = Scale.isFull ? 30 : 5

    @Test(
        "What a guest wrote is there after a reboot, and a read-only disk does not change",
        arguments: Scale.isFull ? ["6.1", "6.12"] : ["6.1"])
    func reboots(kernel: String) throws {
        let machine = try TestMachine(
            MachineKind(testDescription: "Linux 6.1, release core", core: "release"))
        try make(["/tmp/a": "64M", "/tmp/b": "128M", "/tmp/c": "1M"], on: machine)
        let seed = Int.random(in: 1...1_000_000)
        for isSecond in [false, true] {
            let guest = LinuxGuest(
                kernel, .disks(seed: seed, steps: Self.verifiedSteps, isSecond: isSecond))
            let options = ["--disk", "/tmp/a", "--disk", "/tmp/b", "--disk", "/tmp/c:ro"]
            if let wrong = guest.judge(try guest.boot(on: machine, options: options)) {
                Issue.record("\(wrong)")
            }
        }
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
    }

    @Test("What a guest's fdatasync acknowledged is there when the VMM is killed")
    func kills() throws {
        let machine = try TestMachine(
            MachineKind(testDescription: "Linux 6.1, release core", core: "release"))
        // Uncompressed: half as long to boot.
        try machine.put(Tree.root.appending(path: ".build-cache/kernels/6.1/vmlinux"), at: "/tmp/kernel")
        try machine.put(InitialDisk.disks("6.1"), at: "/tmp/initrd")
        try machine.put(InitialDisk.program("disk"), at: "/tmp/disk")
        try make(["/tmp/a": "64M"], on: machine)
        let result = try machine.shell(
            """
            chmod +x /tmp/disk
            for round in $(seq \(Self.kills)); do
                penumbra boot --disk /tmp/a --kernel /tmp/kernel --initrd /tmp/initrd \
                    --cmdline 'console=hvc0 quiet job=append' >/tmp/said 2>/dev/null &
                until grep -q '^acknowledged [0-9]*\r$' /tmp/said; do usleep 100000; done
                usleep $((RANDOM * 30))
                kill -KILL $!
                wait $! 2>/dev/null
                last=$(sed -n 's/^acknowledged \\([0-9]*\\)\r$/\\1/p' /tmp/said | tail -n 1)
                /tmp/disk appended /tmp/a $last && echo "held $last"
            done
            """)
        let held = result.output.split(separator: "\n").filter { $0.hasPrefix("held ") }
        #expect(held.count == Self.kills, "\(result.output)\(result.errors)")
        #expect(held.allSatisfy { Int($0.dropFirst(5)) ?? 0 > 0 }, "\(held)")
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
    }

    private func make(_ sizes: [String: String], on machine: TestMachine) throws {
        for (path, size) in sizes {
            #expect(try machine.shell("truncate -s \(size) \(path)").status == 0)
        }
    }
}
