// SPDX-License-Identifier: Apache-2.0
import PenumbraMachine
import PenumbraSystem

/// A Linux kernel for containers' VMs, as a package or a build leaves it: its image and its modules.
public struct GuestKernel: Equatable, Sendable {
    /// A bzImage or an ELF file.
    public let image: String
    public let release: String
    /// lib/modules/RELEASE.
    public let modules: String

    /// - Parameter name: a kind that `tools/fetch-packages` has unpacked ("6.1"); the release of a kernel
    ///   in /boot ("6.1.0-56-amd64"); an unpacked tree; or the path of an image, whose modules are in
    ///   lib/modules beside its directory.
    public init(_ name: String, installation: Installation) throws(KernelBundleError) {
        if name.contains("/") {
            try self.init(path: name)
        } else if let tree = installation.find(".build-cache/kernels/\(name)", "kernels/\(name)") {
            try self.init(path: tree)
        } else {
            try self.init(image: "/boot/vmlinuz-\(name)", release: name, root: "")
        }
    }

    private init(path: String) throws(KernelBundleError) {
        guard let path = Files.resolve(path) else { throw .noImage(path) }
        if let release = Files.list("\(path)/lib/modules").first {
            try self.init(image: "\(path)/boot/vmlinuz-\(release)", release: release, root: path)
        } else {
            let parts = path.split(separator: "/", omittingEmptySubsequences: false)
            let release = parts.last!.split(separator: "-", maxSplits: 1).last.map(String.init) ?? ""
            try self.init(image: path, release: release, root: parts.dropLast(2).joined(separator: "/"))
        }
    }

    private init(image: String, release: String, root: String) throws(KernelBundleError) {
        guard Files.exists(image) else { throw .noImage(image) }
        let modules = "\(root)/lib/modules/\(release)"
        guard Files.exists(modules) else { throw .noModules(modules) }
        (self.image, self.release, self.modules) = (image, release, modules)
    }
}

/// Why there is no kernel for containers; the text is the user's message.
public enum KernelBundleError: Error, Equatable, CustomStringConvertible {
    case noImage(String)
    case noModules(String)
    case noAgent
    case badImage(path: String, reason: String)
    case badModule(path: String, reason: String)
    case missingModule(String, neededBy: String)
    case system(SystemError)

    public var description: String {
        switch self {
        case .noImage(let path):
            "there is no kernel at \(path): name an installed one, or give a path with --kernel"
        case .noModules(let path):
            "the kernel has no modules at \(path): install its package as a whole"
        case .noAgent:
            "penumbra-init was not found: run penumbra from its source tree after 'make build', or install it "
                + "with 'make install'"
        case .badImage(let path, let reason): "the kernel \(path) cannot be used: \(reason)"
        case .badModule(let path, let reason): "the kernel's module \(path) cannot be used: \(reason)"
        case .missingModule(let name, let other):
            "the kernel has no module \(name), which its module \(other) needs: install its package as a whole"
        case .system(let error): "\(error)"
        }
    }
}
