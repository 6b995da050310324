// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// Finds the files that belong to this program: in the source tree that it was built in, or in
/// `../share/penumbra` of the directory that it is installed in.
public struct Installation: Sendable {
    /// The running program.
    public let program: String
    private let roots: [String]

    /// - Parameter workingDirectory: a source tree that is searched last; nil: none is.
    public init(program: String? = nil, workingDirectory: String? = ".") {
        let program = program ?? Files.resolve("/proc/self/exe") ?? "/proc/self/exe"
        self.program = program
        var roots: [String] = []
        var directory = program
        while let slash = directory.lastIndex(of: "/") {
            directory = String(directory[..<slash])
            if Files.exists(directory + "/machine/init") { roots.append(directory) }
            if Files.exists(directory + "/share/penumbra/machine/init") {
                roots.append(directory + "/share/penumbra")
            }
        }
        self.roots = roots + Self.tree(at: workingDirectory)
    }

    /// Builds with a scratch path elsewhere are run from within the source tree.
    private static func tree(at directory: String?) -> [String] {
        guard let directory = directory.flatMap({ Files.resolve($0) }),
            Files.exists(directory + "/machine/init")
        else { return [] }
        return [directory]
    }

    /// The first of these paths that exists below a root.
    public func find(_ relativePaths: String...) -> String? {
        for root in roots {
            for path in relativePaths where Files.exists("\(root)/\(path)") { return "\(root)/\(path)" }
        }
        return nil
    }

    /// Core images with symbols, for crash reports: which one is meant tells its build id.
    public var coreImages: [String] {
        let named = environmentVariable("PENUMBRA_CORE_ELF").map { [$0] } ?? []
        return named
            + ["build/core/release/core.elf", "build/core/debug/core.elf", "core.elf"].compactMap { find($0) }
    }
}

/// A host kernel as `tools/fetch-packages` unpacks it, or a kernel file of the user's.
public struct KernelFiles: Sendable {
    public enum Boot: String, CaseIterable, Sendable {
        /// The uncompressed kernel through its PVH entry: quickest; no KASLR, no 5-level paging.
        case vmlinux
        /// Through the decompressor: KASLR and 5-level paging as on a real host.
        case bzimage
    }

    public let image: String
    /// The release string ("6.1.0-56-amd64"), where the tree tells it.
    public let release: String?
    /// The tree with lib/modules; nil for a kernel file.
    public let tree: String?
    /// The name that the build has for this kernel; nil for one given by path.
    public let kind: String?

    /// `kernel` is a kind ("6.1", "6.1-cloud", "6.12"), an unpacked tree, or a kernel image.
    public init(_ kernel: String, boot: Boot, installation: Installation) throws(MachineError) {
        kind = kernel.contains("/") ? nil : kernel
        let tree =
            kernel.contains("/")
            ? kernel : installation.find(".build-cache/kernels/\(kernel)", "kernels/\(kernel)")
        guard let tree, let path = Files.resolve(tree) else {
            throw .missing(
                what: "host kernel '\(kernel)'", path: ".build-cache/kernels/\(kernel)",
                remedy: "run 'make setup', or give the path of a kernel")
        }
        guard let release = Files.list(path + "/lib/modules").first else {
            (image, self.release, self.tree) = (path, nil, nil)
            return
        }
        let image = boot == .vmlinux ? "\(path)/vmlinux" : "\(path)/boot/vmlinuz-\(release)"
        guard Files.exists(image) else {
            throw .missing(what: "the kernel image", path: image, remedy: "run tools/fetch-packages again")
        }
        (self.image, self.release, self.tree) = (image, release, path)
    }

    /// The modules that make virtio-serial work.
    var agentModules: [String] {
        modules([
            "drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev",
            "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci",
            "drivers/char/virtio_console",
        ])
    }

    /// The modules for a disk with ext4 and a network interface, after the agent's.
    var diskModules: [String] {
        modules([
            "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
            "drivers/block/virtio_blk", "crypto/crc32c_generic", "lib/crc16", "fs/mbcache", "fs/jbd2/jbd2",
            "fs/ext4/ext4",
        ])
    }

    /// The files of these modules, in the order in which they load; those that the kernel has built in
    /// have none.
    private func modules(_ names: [String]) -> [String] {
        guard let tree, let release else { return [] }
        let directory = "\(tree)/lib/modules/\(release)/kernel"
        return names.compactMap { name in
            ["\(directory)/\(name).ko", "\(directory)/\(name).ko.xz"].first(where: Files.exists)
        }
    }
}
