// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// What can be read off a host without running anything on it. `root` stands before every path, so
/// that tests can show it hosts of their own making.
public struct HostChecks: Sendable {
    private let root: String

    /// What the world switch and the core use on every entry, as /proc/cpuinfo calls it.
    private static let neededFeatures = ["lm", "nx", "syscall", "fsgsbase", "xsave"]
    /// The kernels that the project's tests run on.
    private static let testedKernels = ["6.1.", "6.12."]
    /// The variable's name and vendor: UEFI specification, 3.3 "Globally defined variables".
    private static let secureBootVariable =
        "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

    public init(root: String = "") { self.root = root }

    public func all() -> [Check] {
        [
            features(), processContexts(), virtualization(), mitigations(), siblingThreads(), kernel(),
            headers(),
            signatures(),
        ]
    }

    private func text(_ path: String) -> String? { Files.text(root + path) }

    private var release: String {
        String((text("/proc/sys/kernel/osrelease") ?? "unknown").prefix { !$0.isNewline })
    }

    private var flags: Set<Substring> {
        let lines = (text("/proc/cpuinfo") ?? "").split(whereSeparator: \.isNewline)
        guard let line = lines.first(where: { $0.hasPrefix("flags") }), let colon = line.firstIndex(of: ":")
        else { return [] }
        return Set(line[line.index(after: colon)...].split(separator: " "))
    }

    func features() -> Check {
        let missing = Self.neededFeatures.filter { !flags.contains(Substring($0)) }
        if missing.isEmpty { return .ok("cpu", "has \(Self.neededFeatures.joined(separator: ", "))") }
        return .failed(
            "cpu", "lacks \(missing.joined(separator: ", "))",
            "the module needs an x86-64 CPU with these (and a kernel that has not turned them off): "
                + "use a machine ('penumbra machine start')")
    }

    func processContexts() -> Check {
        if flags.contains("pcid") { return .ok("pcid", "the CPU keeps address spaces apart in its TLB") }
        return .warning("pcid", "the CPU has no PCIDs", "guests run, with a flushed TLB at each switch")
    }

    func virtualization() -> Check {
        let kind = flags.contains("vmx") ? "Intel VT-x" : flags.contains("svm") ? "AMD-V" : nil
        return .ok("hardware virtualization", kind.map { "\($0) is there; not needed" } ?? "none; not needed")
    }

    /// What the kernel says of its CPU's vulnerabilities: lines as "Mitigation: PTI", by file name.
    private func vulnerabilities(_ isMeant: (String) -> Bool) -> [String] {
        let directory = "/sys/devices/system/cpu/vulnerabilities"
        return Files.list(root + directory).filter { text("\(directory)/\($0)").map(isMeant) ?? false }
            .sorted()
    }

    func mitigations() -> Check {
        let open = vulnerabilities { $0.hasPrefix("Vulnerable") }
        if open.isEmpty { return .ok("host's mitigations", "none that the CPU needs is missing") }
        return .warning(
            "host's mitigations", "the kernel itself is open to \(open.joined(separator: ", "))",
            "boot without mitigations=off and its like, and update the CPU's microcode")
    }

    /// Threads of a core share buffers and the first-level cache: no barrier at a switch keeps one from reading
    /// what the other uses meanwhile.
    func siblingThreads() -> Check {
        let sharing = ["l1tf", "mds", "tsx_async_abort"]
        guard text("/sys/devices/system/cpu/smt/active")?.hasPrefix("1") == true else {
            return .ok("sibling threads", "off, or none")
        }
        let affected = vulnerabilities { !$0.hasPrefix("Not affected") }.filter(sharing.contains)
        if affected.isEmpty { return .ok("sibling threads", "on; the CPU is not known to leak between them") }
        return .warning(
            "sibling threads", "on, and the CPU leaks between them (\(affected.joined(separator: ", ")))",
            "for hostile guests: echo off > /sys/devices/system/cpu/smt/control, or boot with nosmt")
    }

    func kernel() -> Check {
        if Self.testedKernels.contains(where: release.hasPrefix) { return .ok("kernel", "Linux \(release)") }
        return .warning(
            "kernel", "Linux \(release) is not among the tested ones (6.1, 6.12)",
            "the module may not build or load: use a tested kernel, or a machine")
    }

    func headers() -> Check {
        let path = "/lib/modules/\(release)/build"
        if Files.exists(root + path) { return .ok("kernel headers", path) }
        return .warning(
            "kernel headers", "\(path) is missing",
            "to build the module for this host: apt install linux-headers-\(release)")
    }

    func signatures() -> Check {
        // efivarfs puts four bytes of attributes before the variable's one.
        let variable = try? Files.read(root + Self.secureBootVariable)
        if variable?.count == 5, variable?.last == 1 {
            return .warning(
                "module signatures", "Secure Boot is on: the kernel loads signed modules only",
                "sign penumbra.ko with a key of yours and enroll it (mokutil --import), as tools/install explains"
            )
        }
        if text("/sys/module/module/parameters/sig_enforce")?.hasPrefix("Y") == true {
            return .warning(
                "module signatures", "this kernel enforces module signatures",
                "sign penumbra.ko with a key that the kernel trusts, or boot without module.sig_enforce")
        }
        return .ok("module signatures", "not enforced")
    }
}

/// What the project's machine needs on this host.
public struct MachineChecks: Sendable {
    private let installation: Installation
    private let machine: Machine
    private static let neededSpace: UInt64 = 1 << 30

    public init(machine: Machine, installation: Installation) {
        (self.machine, self.installation) = (machine, installation)
    }

    public func all() -> [Check] { [qemu(), busybox(), hostKernel(), space(), running()] }

    private func qemu() -> Check {
        if let path = Files.program("qemu-system-x86_64") { return .ok("qemu", path) }
        return .warning(
            "qemu", "qemu-system-x86_64 is not in PATH", "for machines: apt install qemu-system-x86")
    }

    private func busybox() -> Check {
        if let path = Files.program("busybox") { return .ok("busybox", path) }
        return .warning("busybox", "busybox is not in PATH", "for machines: apt install busybox-static")
    }

    private func hostKernel() -> Check {
        let kernel = MachineSettings().kernel
        if let files = try? KernelFiles(kernel, boot: .vmlinux, installation: installation) {
            return .ok("machine's kernel", files.image)
        }
        return .warning("machine's kernel", "kernel \(kernel) is not unpacked", "for machines: make setup")
    }

    private func space() -> Check {
        var path = machine.state.path
        var information = statvfs()
        while statvfs(path, &information) != 0 {
            guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { break }
            path = String(path[..<slash])
        }
        let free = UInt64(information.f_bavail) * UInt64(information.f_frsize)
        if free >= Self.neededSpace { return .ok("disk space", "\(free >> 20) MiB free at \(path)") }
        return .warning(
            "disk space", "only \(free >> 20) MiB free at \(path)",
            "make room, or set PENUMBRA_STATE_DIR to another file system")
    }

    private func running() -> Check {
        let name = machine.state.name
        if machine.state.isRunning { return .ok("machine", "'\(name)' is running") }
        return .ok("machine", "'\(name)' is not running")
    }
}
