// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import PenumbraVMM

/// The modules of a kernel that a container's agent may want, and those that they need.
struct ModuleSet {
    /// What the agent loads by name; a kernel has each as a module, built in, or not at all. ext4 asks the
    /// crypto layer for a checksum by name, which depends on no symbol.
    private static let wanted: [(name: String, also: [String])] = [
        ("xen-blkfront", []), ("squashfs", []), ("ext4", ["crc32c_generic"]), ("overlay", []),
        ("xen-netfront", []), ("9p", []), ("9pnet_xen", []),
    ]

    /// A module comes behind those it needs.
    private(set) var modules: [(name: String, needs: [String], file: KernelModuleFile)] = []

    /// - Parameter directory: lib/modules/RELEASE.
    init(_ directory: String) throws(KernelBundleError) {
        let index = ModuleIndex(directory)
        for (name, also) in Self.wanted { try add(name, also, index) }
    }

    private mutating func add(
        _ name: String, _ also: [String], _ index: ModuleIndex
    ) throws(KernelBundleError) {
        let name = ModuleIndex.canonical(name)
        guard !modules.contains(where: { $0.name == name }), let path = index.path(name) else { return }
        let file = try Self.read(path)
        let needs = (file.needs + also).map(ModuleIndex.canonical)
        for other in needs {
            guard index.has(other) else { throw .missingModule(other, neededBy: name) }
            try add(other, [], index)
        }
        modules.append((name, needs.filter { index.path($0) != nil }, file))
    }

    private static func read(_ path: String) throws(KernelBundleError) -> KernelModuleFile {
        let bytes: [UInt8]
        do throws(SystemError) { bytes = try Files.read(path) } catch { throw .system(error) }
        do { return try KernelModuleFile(bytes) } catch { throw .badModule(path: path, reason: "\(error)") }
    }

    /// /modules/list, as penumbra-init reads it.
    var list: String { modules.map { ([$0.name] + $0.needs).joined(separator: " ") + "\n" }.joined() }
}

/// Where a kernel's modules are. Their names have "-" and "_" for the same (kmod(8)).
struct ModuleIndex {
    private var paths: [String: String] = [:]
    private var builtin: Set<String> = []

    init(_ directory: String) {
        for line in (Files.text("\(directory)/modules.order") ?? "").split(separator: "\n") {
            let path = "\(directory)/\(line)"
            // Debian compresses after the list was made.
            if let found = [path, path + ".xz"].first(where: Files.exists) {
                paths[Self.name(of: line)] = found
            }
        }
        for line in (Files.text("\(directory)/modules.builtin") ?? "").split(separator: "\n") {
            builtin.insert(Self.name(of: line))
        }
    }

    static func canonical(_ name: String) -> String { String(name.map { $0 == "-" ? "_" : $0 }) }

    private static func name(of path: Substring) -> String {
        let file = path.split(separator: "/").last ?? path
        return canonical(String(file.prefix { $0 != "." }))
    }

    func path(_ name: String) -> String? { paths[name] }

    func has(_ name: String) -> Bool { paths[name] != nil || builtin.contains(name) }
}
