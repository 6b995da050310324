// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// The container as the agent sees it: its root file system and what will be mounted in it, outside of
/// the namespaces that its processes live in.
///
/// The root is an overlay: the image, read-only, below; changes above. To programs it is one file system, as
/// on a disk of its own (`xino`): a file's device and inode are the directory entry's, and stay when the file is
/// changed. Everything within the root is left to the first child (`ContainerRoot`), which can follow no link of
/// the image's out of it.
struct Container {
    let spec: ContainerSpec
    let layout: Layout
    private var modules = KernelModules()
    /// In the order in which they were made.
    private var mounts: [String] = []

    init(_ spec: ContainerSpec, _ layout: Layout) { (self.spec, self.layout) = (spec, layout) }

    mutating func prepare() throws(AgentFailure) {
        try prepareRoot()
        for (number, mount) in spec.mounts.enumerated() {
            try prepare(mount, at: layout.mount(number))
        }
        try writeFiles()
        try ControlGroup.create(layout)
        try Network.bringUpLoopback()
        if let network = spec.network {
            try modules.load("xen-netfront")
            try Network.configure(network)
        }
    }

    // MARK: File systems

    private mutating func prepareRoot() throws(AgentFailure) {
        let image = try prepareImage()
        switch spec.root.changes {
        case .disk(let device, let type): try mountDisk(device, type, at: layout.changes)
        case .memory(let limit):
            try mount("tmpfs", at: layout.changes, type: "tmpfs", options: Self.memoryOptions(limit))
        }
        for name in ["upper", "scratch"] { try FileSystem.makeDirectories("\(layout.changes)/\(name)") }
        try modules.load("overlay")
        let changes = "upperdir=\(layout.changes)/upper,workdir=\(layout.changes)/scratch"
        try mount(
            "overlay", at: layout.root, type: "overlay", options: "lowerdir=\(image),\(changes),xino=on")
    }

    private mutating func prepareImage() throws(AgentFailure) -> String {
        switch spec.root.image {
        case .directory(let path): return path
        case .disk(let device, let type):
            try mountDisk(device, type, at: layout.image, INIT_READ_ONLY)
            return layout.image
        }
    }

    private mutating func prepare(_ mount: MountSpec, at place: String) throws(AgentFailure) {
        switch mount.source {
        // The child's own, since nobody else needs to see it.
        case .memory: return
        case .disk(let device, let type):
            try mountDisk(device, type, at: place, mount.isReadOnly ? INIT_READ_ONLY : 0)
        case .share(let tag):
            try modules.load("9p")
            try modules.load("9pnet_xen")
            try mountShare(tag, at: place)
        }
    }

    private mutating func mountDisk(
        _ device: String, _ type: String, at place: String, _ flags: UInt = 0
    ) throws(AgentFailure) {
        try modules.load("xen-blkfront")
        try modules.load(type)
        let path = "/dev/\(device)"
        _ = try FileSystem.waiting(for: path) { () throws(SystemError) in
            try Descriptor(path: path, flags: O_RDONLY)
        }
        try mount(path, at: place, type: type, flags)
    }

    /// With Linux' largest messages, and a cache for mappings alone, which cannot be written without one.
    private static let shareOptions = "trans=xen,version=9p2000.L,cache=mmap,msize=524288"

    /// The driver knows the tag a moment after it is loaded.
    private mutating func mountShare(_ tag: String, at place: String) throws(AgentFailure) {
        let known = (Files.text("/proc/filesystems") ?? "").split(separator: "\n")
        guard known.contains(where: { $0 == "nodev\t9p" }) else {
            throw AgentFailure(
                .setup,
                "the guest's kernel has no 9p file system, which volumes need: take another by --kernel")
        }
        try FileSystem.makeDirectories(place)
        _ = try FileSystem.waiting(for: tag) { () throws(SystemError) in
            try retrying("mount", tag) { Int(init_mount(tag, place, "9p", 0, Self.shareOptions)) }
        }
        mounts.append(place)
    }

    private mutating func mount(
        _ source: String, at target: String, type: String, _ flags: UInt = 0, options: String = ""
    ) throws(AgentFailure) {
        try FileSystem.mount(source, at: target, type: type, flags, options: options)
        mounts.append(target)
    }

    static func memoryOptions(_ limit: UInt64, permissions: UInt32 = 0o755) -> String {
        "mode=\(String(permissions, radix: 8))" + (limit == 0 ? "" : ",size=\(limit)")
    }

    /// In memory, so that the image's writable layer has none of them.
    private mutating func writeFiles() throws(AgentFailure) {
        let directory = "\(layout.base)/files"
        try mount("tmpfs", at: directory, type: "tmpfs")
        for (number, file) in spec.files.enumerated() {
            do throws(SystemError) {
                try Files.write(file.content, to: layout.file(number), mode: file.permissions & 0o7777)
            } catch { throw AgentFailure(error) }
        }
    }

    // MARK: The end

    /// How long the last process's mounts may take to go.
    private static let patience = 5.0

    /// Writes file systems back and lets go of them; no process of the container is left.
    func tearDown() {
        sync()
        for place in mounts.reversed() { unmount(place) }
        ControlGroup.remove(layout)
    }

    /// The kernel takes a dead process's namespaces apart behind its back: until then a disk is in use,
    /// and one that is not let go of asks for a recovery at its next mount. What is acknowledged is on it anyway.
    private func unmount(_ place: String) {
        let deadline = monotonicSeconds() + Self.patience
        while init_unmount(place) != 0, errno == EBUSY, monotonicSeconds() < deadline { usleep(2000) }
    }
}
