// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

/// Debian's kernels, as they are, in VMs: what user space sees there, how guests end, and what
/// they leave behind. One test at a time: each keeps all CPUs busy.
@Suite(.serialized)
struct LinuxTests {
    static let kernels = ["6.1", "6.1-cloud", "6.12"]
    /// In continuous integration each host has one of the guests, and each guest one host.
    private static let pairs = ["6.1": ["6.12"], "6.1-cloud": ["6.1"], "6.12": ["6.1-cloud"]]
    /// Two lots of 16 VMs took 170 KiB and gave 220 back: half a slab here and there.
    private static let toleranceKiB = 512
    /// What changes address spaces, or switches between them, most.
    private static let stressors = ["vm", "fork", "mmap", "context", "timer", "fault"]

    @Test("User space works in guests on every host", arguments: kernels)
    func userSpace(host: String) throws {
        let machine = try TestMachine(Self.release(host))
        let guests = (Scale.isFull ? Self.kernels : Self.pairs[host, default: []]).map {
            LinuxGuest($0, .programs(steps: Scale.steps, forks: Scale.forks, seconds: 3))
        }
        try expectToWork(guests, on: machine)
        try expectNothingLeft(on: machine)
    }

    @Test("Guests work on 2 and on 4 CPUs at once, while CPUs go and come")
    func processors() throws {
        let machine = try TestMachine(Self.release("6.1"))
        for (kernel, cpus) in [("6.12", 2), ("6.1", 4)] {
            let guest = LinuxGuest(kernel, cpus: cpus, .parallel(steps: Scale.steps / 2, forks: 100))
            try expectToWork([guest], on: machine)
        }
        try expectNothingLeft(on: machine)
    }

    @Test("A guest's shadow tables hold what they must, checked all along by the debug core")
    func invariants() throws {
        let machine = try TestMachine(MachineKind(testDescription: "Linux 6.1, debug core"))
        let guest = LinuxGuest(
            "6.1-cloud", memory: "128M", cpus: 2, .programs(steps: 300, forks: 100, seconds: 1))
        if let wrong = guest.judge(try guest.boot(on: machine, options: ["--debug"])) {
            Issue.record("\(wrong)")
        }
        try expectNothingLeft(on: machine)
    }

    @Test(
        "The smallest and the largest guest work, beside thousands of forks and stress-ng's paging stressors")
    func load() throws {
        var kind = Self.release("6.12")
        kind.memory = "6G"
        let machine = try TestMachine(kind)
        try expectToWork(
            [
                LinuxGuest("6.1", .stress(Self.stressors, seconds: Scale.isFull ? 15 : 6)),
                LinuxGuest(
                    "6.12", memory: "128M",
                    .programs(steps: Scale.steps, forks: Scale.isFull ? 5000 : 2000, seconds: 5)),
                LinuxGuest("6.1", memory: "4G", .programs(steps: 300, forks: 100, seconds: 1)),
            ], on: machine)
        try expectNothingLeft(on: machine)
    }

    @Test("A guest stands all of stress-ng's stressors together for minutes", .enabled(if: Scale.isFull))
    func soak() throws {
        let machine = try TestMachine(Self.release("6.12"))
        let stressors =
            Self.stressors + [
                "signal", "sigq", "pipe", "switch", "futex", "mremap", "vfork", "matrix",
            ]
        try expectToWork([LinuxGuest("6.1", memory: "512M", .soak(stressors, seconds: 330))], on: machine)
        try expectNothingLeft(on: machine)
    }

    @Test("A directory of the host's is shared, and no more than that directory")
    func shares() throws {
        let machine = try TestMachine(Self.release("6.1"))
        let made = try machine.shell(
            """
            mkdir /tmp/data /tmp/fixed && echo 'from the host' >/tmp/fixed/file && echo secret >/tmp/secret &&
                ln -s ../secret /tmp/fixed/way
            """)
        #expect(made.status == 0, "\(made.errors)")
        let guest = LinuxGuest("6.1", .shares(hundreds: Scale.hundreds))
        let options = ["--share", "data=/tmp/data", "--share", "fixed=/tmp/fixed:ro"]
        if let wrong = guest.judge(try guest.boot(on: machine, options: options)) { Issue.record("\(wrong)") }
        #expect(try machine.shell("ls /tmp/data; cat /tmp/fixed/file").output == "from the host\n")
        try expectNothingLeft(on: machine)
    }

    @Test("Reboot, panic, time-out and signals are told apart")
    func ends() throws {
        let machine = try TestMachine(Self.release("6.1-cloud"))
        for (job, status) in [("reboot", Int32(75)), ("panic", 74)] {
            let result = try LinuxGuest("6.1-cloud", .other(job)).boot(on: machine)
            #expect(result.status == status, "\(job): \(result.output)\(result.errors)")
        }
        try Self.install(on: machine)
        #expect(try guests(on: machine, job: "endless", options: "--timeout 8") == ["124"])
        for signal in [SIGTERM, SIGINT] {
            let ended = try guests(on: machine, job: "endless", endedBy: "sleep 5; kill -\(signal) $vmm")
            #expect(ended == ["\(128 + signal)"])
        }
        try expectNothingLeft(on: machine)
    }

    @Test("VMs that boot and shut down in a row, and VMMs that are killed at random moments, leave nothing")
    func restarts() throws {
        let machine = try TestMachine(Self.release("6.1"))
        try Self.install(on: machine)
        // What the host itself keeps after some rounds (slabs) it has by then.
        _ = try bootAndKill(machine, boots: 4, kills: 2)
        let before = try machine.availableMemory()
        let killed = try bootAndKill(machine, boots: Scale.boots, kills: Scale.kills)
        #expect(killed > 0, "VMs were there when their VMMs were killed")
        let gone = try machine.missingMemory(since: before, atMost: Self.toleranceKiB)
        #expect(gone < Self.toleranceKiB, "\(gone) KiB did not come back")
        try expectNothingLeft(on: machine)
    }

    @Test("A guest that finds something wrong, or says too little, is seen")
    func judges() {
        let guest = LinuxGuest("6.1", .programs(steps: 1, forks: 1, seconds: 1))
        let right = [
            "kernel 6.1.0-1-amd64", "hypervisor xen", "memory: 0", "forks: 0", "vector: 0", "tasks: 0",
            "log: [    1.000000] Grant table initialized", "end",
        ]
        func wrong(_ reports: [String], status: Int32 = 0) -> String? {
            let output = reports.map { "=> \($0)\r\n" }.joined()
            return guest.judge(Finished(status: status, output: "early\r\n" + output, errors: ""))
        }
        #expect(wrong(right) == nil)
        #expect(wrong(right, status: 70) != nil)
        #expect(wrong(right.dropLast()) != nil, "the end is missing")
        #expect(wrong(right.map { $0 == "forks: 0" ? "forks: 1" : $0 }) != nil)
        #expect(wrong(["kernel 6.12.0-1-amd64"] + right.dropFirst()) != nil)
        #expect(wrong(["kernel 6.1.0-1-cloud-amd64"] + right.dropFirst()) != nil)
        #expect(wrong(right + ["log: [    9.000000] WARNING: CPU: 0 PID: 1"])?.contains("WARNING") == true)
    }

    // MARK: - Steps

    private static func release(_ kernel: String) -> MachineKind {
        MachineKind(testDescription: "Linux \(kernel), release core", kernel: kernel, core: "release")
    }

    /// All at the same time, on the two CPUs of the machine.
    private func expectToWork(_ guests: [LinuxGuest], on machine: TestMachine) throws {
        let running = try guests.map { ($0, try $0.begin(on: machine)) }
        for (guest, program) in running {
            if let wrong = guest.judge(try program.finished()) { Issue.record("\(wrong)") }
        }
    }

    /// Two at a time of the VMs that end by themselves, then the others; how many of these had got
    /// so far as to be a VM.
    private func bootAndKill(_ machine: TestMachine, boots: Int, kills: Int) throws -> Int {
        let beside = try begin(boots / 2, on: machine, job: "off")
        let ended = try guests(boots - boots / 2, on: machine, job: "off") + Self.lines(beside.finished())
        #expect(ended == Array(repeating: "0", count: boots))
        let killed = try guests(
            kills, on: machine, job: "endless",
            endedBy: """
                usleep $((500000 + RANDOM * 120))
                ! ls -l /proc/$vmm/fd | grep -q penumbra-vcpu || echo "had a VM"
                kill -KILL $vmm
                """)
        #expect(killed.count { $0 == "\(128 + SIGKILL)" } == kills, "\(killed)")
        return killed.count { $0 == "had a VM" }
    }

    private static func install(on machine: TestMachine) throws {
        // Uncompressed, as an ELF file: half as long to boot, and the other kind of image.
        let kernel = Tree.root.appending(path: ".build-cache/kernels/6.1-cloud/vmlinux")
        try machine.put(kernel, at: "/tmp/kernel")
        try machine.put(InitialDisk.programs.get(), at: "/tmp/initrd")
    }

    /// Boots guests in the machine, one after the other, and runs shell commands beside each; what
    /// these print, and with what status the VMM ends.
    private func guests(
        _ count: Int = 1, on machine: TestMachine, job: String, options: String = "",
        endedBy commands: String = ""
    ) throws -> [String] {
        Self.lines(
            try begin(count, on: machine, job: job, options: options, endedBy: commands).finished())
    }

    private func begin(
        _ count: Int, on machine: TestMachine, job: String, options: String = "",
        endedBy commands: String = ""
    ) throws -> RunningProgram {
        try machine.begin(
            """
            for guest in $(seq \(count)); do
                penumbra boot \(options) --kernel /tmp/kernel --initrd /tmp/initrd \
                    --cmdline 'console=hvc0 quiet seed=1 job=\(job)' >/dev/null 2>&1 &
                vmm=$!
                \(commands)
                wait $vmm 2>/dev/null
                echo $?
            done
            """)
    }

    private static func lines(_ result: Finished) -> [String] {
        result.output.split(separator: "\n").map(String.init)
    }

    private func expectNothingLeft(on machine: TestMachine) throws {
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
        let unloaded = try machine.shell("rmmod penumbra && echo unloaded")
        #expect(unloaded.output == "unloaded\n", "\(unloaded.errors)")
    }
}

/// How much: what fits continuous integration, or (PENUMBRA_STRESS=1) all of it.
enum Scale {
    static let isFull = ProcessInfo.processInfo.environment["PENUMBRA_STRESS"] == "1"
    static let steps = isFull ? 10000 : 600
    static let forks = isFull ? 2000 : 200
    static let boots = isFull ? 300 : 16
    /// Of files in a share.
    static let hundreds = isFull ? 10 : 1
    static let kills = isFull ? 100 : 6
}
