// SPDX-License-Identifier: Apache-2.0

/// A set of capabilities (capabilities(7)); bit N stands for the kernel's number N.
public struct Capabilities: OptionSet, Sendable {
    public var rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// In the order of the kernel's numbers (linux/capability.h).
    public static let names = [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK",
        "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN",
        "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
        "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND",
        "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
    ]

    public static let all = Capabilities(rawValue: (1 << UInt64(names.count)) - 1)

    /// What container engines give by default; not MKNOD, as with podman: without a list of devices that
    /// may be opened it would lead to the agent's channel and the disks below the container's root.
    public static let standard = Capabilities(
        named: "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
        "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE")

    private init(named names: String...) {
        self = names.reduce(into: []) { $0.formUnion(Capabilities(name: $1) ?? []) }
    }

    /// "NET_ADMIN", "cap_net_admin", "ALL"; nil: there is none of that name.
    public init?(name: String) {
        var name = name.uppercased()
        if name == "ALL" {
            self = .all
            return
        }
        if name.hasPrefix("CAP_") { name.removeFirst(4) }
        guard let number = Self.names.firstIndex(of: name) else { return nil }
        self.init(rawValue: 1 << UInt64(number))
    }
}
