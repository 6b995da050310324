// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// What the container's first child does, in namespaces of its own, before it becomes the main process:
/// it enters the root and mounts what belongs within. From `enter` on every path is the container's, and
/// links of a hostile image lead to places in it.
struct ContainerRoot {
    let container: Container

    private static let pseudo = INIT_NO_SUID | INIT_NO_DEVICES | INIT_NO_EXECUTION

    /// Copies of mounts and files, taken outside and attached inside.
    private struct Copies {
        var mounts: [Descriptor?]
        var files: [Descriptor]
    }

    func enter() throws(AgentFailure) {
        // What happens to the container's mounts stays there.
        try FileSystem.check("mount", "/ as private") {
            Int(init_mount("none", "/", "", INIT_RECURSIVE | INIT_PRIVATE, ""))
        }
        let root = try Self.copy(container.layout.root)
        let copies = try takeCopies()
        try leaveAgentsMounts()
        try FileSystem.check("entering", container.layout.root) { Int(init_change_root(root.number)) }
        try mountKernelInterfaces()
        try DeviceDirectory.make()
        try attach(copies)
        try protectKernelInterfaces()
        if container.spec.root.isReadOnly { try FileSystem.remount("/", INIT_BIND | INIT_READ_ONLY) }
    }

    /// Below the container's root nothing could reach them, but they would still be in its namespace: and
    /// a /proc there that nothing lies over is all that the kernel asks for before it mounts another one
    /// in a user namespace (mount_too_revealing in its fs/namespace.c), one without what is hidden here.
    private func leaveAgentsMounts() throws(AgentFailure) {
        // proc(5): the fifth word of a line is where something is mounted; what lies on top comes last.
        let lines = (Files.text("/proc/self/mountinfo") ?? "").split(separator: "\n")
        for place in lines.compactMap({ $0.split(separator: " ").dropFirst(4).first }).reversed()
        where place != "/" {
            try FileSystem.check("umount", String(place)) { Int(init_detach_mount(String(place))) }
        }
    }

    private func takeCopies() throws(AgentFailure) -> Copies {
        var copies = Copies(mounts: [], files: [])
        for (number, mount) in container.spec.mounts.enumerated() {
            if case .memory = mount.source {
                copies.mounts.append(nil)
            } else {
                copies.mounts.append(try Self.copy(container.layout.mount(number)))
            }
        }
        for number in container.spec.files.indices {
            copies.files.append(try Self.copy(container.layout.file(number)))
        }
        return copies
    }

    private static func copy(_ path: String) throws(AgentFailure) -> Descriptor {
        do throws(SystemError) {
            return Descriptor(adopting: Int32(try retrying("open_tree", path) { Int(init_copy_mount(path)) }))
        } catch { throw AgentFailure(error) }
    }

    private func attach(_ copies: Copies) throws(AgentFailure) {
        for (mount, copy) in zip(container.spec.mounts, copies.mounts) {
            if case .memory(let limit, let permissions) = mount.source {
                try FileSystem.mount(
                    "tmpfs", at: mount.target, type: "tmpfs", INIT_NO_SUID | INIT_NO_DEVICES,
                    options: Container.memoryOptions(limit, permissions: permissions))
            } else if let copy {
                try FileSystem.makeDirectories(mount.target)
                try Self.attach(copy, at: mount.target)
            }
            if mount.isReadOnly { try FileSystem.remount(mount.target, INIT_BIND | INIT_READ_ONLY) }
        }
        for (file, copy) in zip(container.spec.files, copies.files) {
            try FileSystem.makeFile(file.path)
            try Self.attach(copy, at: file.path)
        }
    }

    private static func attach(_ copy: Descriptor, at target: String) throws(AgentFailure) {
        try FileSystem.check("move_mount", target) { Int(init_attach_mount(copy.number, target)) }
    }

    // MARK: The kernel's interfaces, as the OCI runtime specification and engines have them

    private func mountKernelInterfaces() throws(AgentFailure) {
        try FileSystem.mount("proc", at: "/proc", type: "proc", Self.pseudo)
        try FileSystem.mount("sysfs", at: "/sys", type: "sysfs", Self.pseudo | INIT_READ_ONLY)
        try FileSystem.mount("cgroup2", at: "/sys/fs/cgroup", type: "cgroup2", Self.pseudo | INIT_READ_ONLY)
    }

    private static let hiddenFiles = [
        "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
    ]
    private static let hiddenDirectories = ["/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware"]
    private static let readOnly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

    private func protectKernelInterfaces() throws(AgentFailure) {
        for path in Self.hiddenFiles where Files.exists(path) { try FileSystem.bind("/dev/null", at: path) }
        for path in Self.hiddenDirectories where Files.exists(path) {
            try FileSystem.mount("tmpfs", at: path, type: "tmpfs", INIT_READ_ONLY)
        }
        for path in Self.readOnly where Files.exists(path) {
            try FileSystem.bind(path, at: path)
            try FileSystem.remount(path, INIT_BIND | INIT_READ_ONLY | Self.pseudo)
        }
    }
}
