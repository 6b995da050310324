// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport

/// A Debian kernel in a VM, and what its first process (Programs/init) is to do.
struct LinuxGuest {
    /// What Programs/init is told on the kernel's command line.
    enum Job {
        /// Every program of Programs/: so many random steps, forks, and seconds of vector registers.
        case programs(steps: Int, forks: Int, seconds: Int)
        /// `memory` and `forks` on every CPU at once, while CPUs go and come.
        case parallel(steps: Int, forks: Int)
        /// Two processes of each stressor for so many seconds, one stressor after the other.
        case stress([String], seconds: Int)
        /// A process of each stressor, all together.
        case soak([String], seconds: Int)
        /// Random steps on xvda, and files on xvdb; or a look at what that left there.
        case disks(seed: Int, steps: Int, isSecond: Bool)
        /// Durable writes to xvda, without end.
        case append
        /// Programs/shares, with so many hundred files.
        case shares(hundreds: Int)
        /// What Programs/init calls so.
        case other(String)
    }

    /// A package's kernel: "6.1", "6.1-cloud", "6.12".
    let kernel: String
    let memory: String
    let cpus: Int
    let job: Job
    private let seed = UInt16.random(in: 1 ... .max)

    init(_ kernel: String, memory: String = "256M", cpus: Int = 1, _ job: Job) {
        self.kernel = kernel
        self.memory = memory
        self.cpus = cpus
        self.job = job
    }

    static func image(_ kernel: String) throws -> URL {
        let folder = Tree.root.appending(path: ".build-cache/kernels/\(kernel)/boot")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        guard let image = files.first(where: { $0.lastPathComponent.hasPrefix("vmlinuz-") }) else {
            throw InitialDisk.Failure(description: "no vmlinuz in \(folder.path); run make kernels")
        }
        return image
    }

    /// Boots it beside the test.
    func begin(on machine: TestMachine, options: [String] = []) throws -> RunningProgram {
        try RunningProgram(
            Tree.penumbra,
            [
                "boot", "--machine", machine.name, "--kernel", Self.image(kernel).path,
                "--initrd", initialDisk.get().path, "--cmdline", commandLine, "--memory", memory,
                "--cpus", "\(cpus)", "--timeout", "\(patience)",
            ] + options)
    }

    func boot(on machine: TestMachine, options: [String] = []) throws -> Finished {
        try begin(on: machine, options: options).finished()
    }

    var commandLine: String { "console=hvc0 loglevel=1 seed=\(seed) \(words)" }

    private var words: String {
        switch job {
        case .programs(let steps, let forks, let seconds):
            "job=programs steps=\(steps) forks=\(forks) seconds=\(seconds)"
        case .parallel(let steps, let forks): "job=parallel steps=\(steps) forks=\(forks)"
        case .stress(let stressors, let seconds):
            "job=stress stressors=\(stressors.joined(separator: ",")) seconds=\(seconds)"
        case .soak(let stressors, let seconds):
            "job=soak stressors=\(stressors.joined(separator: ",")) seconds=\(seconds)"
        case .disks(let seed, let steps, let isSecond):
            "job=\(isSecond ? "disks-again" : "disks") disk_seed=\(seed) steps=\(steps)"
        case .append: "job=append"
        case .shares(let hundreds): "job=shares hundreds=\(hundreds)"
        case .other(let name): "job=\(name)"
        }
    }

    private var initialDisk: Result<URL, any Error> {
        switch job {
        case .stress, .soak: InitialDisk.stress
        case .disks, .append: Result { try InitialDisk.disks(kernel) }
        case .shares: Result { try InitialDisk.shares(kernel) }
        case .programs, .parallel, .other: InitialDisk.programs
        }
    }

    /// Many times what the job takes on a quiet host.
    private var patience: Int {
        switch job {
        case .programs(let steps, let forks, let seconds): 200 + steps / 8 + forks / 8 + 10 * seconds
        case .parallel(let steps, let forks): 200 + cpus * (steps + forks) / 8
        case .stress(let stressors, let seconds): 200 + 3 * stressors.count * seconds
        case .soak(_, let seconds): 200 + 3 * seconds
        case .disks(_, let steps, _): 300 + steps / 8
        case .append, .other: 200
        case .shares(let hundreds): 400 + 200 * hundreds
        }
    }

    /// What a guest prints that does its job and finds nothing wrong.
    private var expectedReports: [String] {
        switch job {
        case .programs: ["memory: 0", "forks: 0", "vector: 0", "tasks: 0", "end"]
        case .parallel: ["processors: \(cpus)", "parallel: 0", "processors: \(cpus)", "end"]
        case .stress(let stressors, _): stressors.map { "stress \($0): 0" } + ["end"]
        case .soak(let stressors, _): ["stress \(stressors.joined(separator: " ")): 0", "end"]
        case .disks(_, _, false): ["disk: 0", "mkfs.ext4: 0", "files: 0", "end"]
        case .disks(_, _, true): ["disk: 0", "files: 0", "fsck.ext4: 0", "read-only: refused", "end"]
        case .append, .other: []
        case .shares: Self.sharesReports
        }
    }

    private static let sharesReports: [String] = {
        var steps: [String] = []
        for cache in ["none", "mmap", "loose"] {
            steps += ["mount \(cache)", "\(cache) programs", "\(cache) bytes"]
            if cache == "none" { steps.append("tree") }
            steps += ["\(cache) empty", "umount \(cache)"]
        }
        steps += ["mount fixed", "fixed", "umount fixed"]
        return steps.map { "\($0): 0" } + ["end"]
    }()

    /// What is wrong with how it ended; nil: nothing.
    func judge(_ result: Finished) -> String? {
        let lines = result.output.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("=> ") }
            .map { String($0.dropFirst("=> ".count)) }
        let reports = lines.filter { !$0.hasPrefix("log: ") }
        let complaints = GuestLog.complaints(in: lines)
        let isRight =
            result.status == 0 && complaints.isEmpty && reports.first.map(isOfThisKernel) == true
            && Array(reports.dropFirst()) == ["hypervisor xen"] + expectedReports
        return isRight
            ? nil
            : """
            \(kernel), \(memory), \(cpus) CPUs, \(commandLine): status \(result.status), \
            log: \(complaints)\n\(result.output)\(result.errors)
            """
    }

    private func isOfThisKernel(_ report: String) -> Bool {
        report.hasPrefix("kernel \(kernel.prefix(while: { $0 != "-" })).")
            && report.contains("cloud") == kernel.contains("cloud")
    }
}

/// What a guest's kernel logged as a warning or worse, which Programs/init prints.
enum GuestLog {
    /// What Debian's kernels say at these levels in any Xen guest, or because a clock that is
    /// emulated beside others is late.
    private static let expected = [
        "ACPI: MPS support code is not built-in", "PMU not available due to virtualization",
        "Grant table initialized", "mce: Unable to init MCE device", "the _CPC object is not present",
        "Cannot find an available gap in the 32-bit address range",
        "PCI devices with unassigned 32-bit BARs may not work", "hrtimer: interrupt took",
        "clocksource: Long readout interval", "hogged CPU for >", "APIC id mismatch. Firmware: ffff",
        "spinlock event irq",
    ]

    static func complaints(in lines: [String]) -> [String] {
        lines.filter { line in line.hasPrefix("log: ") && !expected.contains { line.contains($0) } }
    }
}
