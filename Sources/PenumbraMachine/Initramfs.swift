// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The machine's first and only root file system: busybox, this program as the agent, modules.
struct Initramfs {
    static let libraryDirectory = "/lib/penumbra"

    let kernel: KernelFiles
    /// penumbra.ko for that kernel, or nil for a machine without.
    let module: String?
    /// The machine keeps images and containers: it needs its disk's modules, and the tools to make theirs.
    let hasDisk: Bool
    let installation: Installation

    func build() throws -> [UInt8] {
        var archive = CpioArchive()
        for directory in ["/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/bin", "/usr/bin", "/sbin"] {
            archive.addDirectory(directory)
        }
        archive.addCharacterDevice("/dev/console", major: 5, minor: 1)
        guard let recipe = installation.find("machine/init") else {
            throw MachineError.missing(
                what: "the machine's init script", path: "machine/init",
                remedy: "run penumbra from its source tree or install it with 'make install'")
        }
        archive.addFile("/init", try Files.read(recipe), permissions: 0o755)
        archive.addFile("/bin/busybox", try Files.read(try GuestRoot.busybox()), permissions: 0o755)
        if hasDisk { archive.addDirectory("/var/lib/penumbra") }
        try addPrograms(to: &archive)
        try addModules(to: &archive)
        return archive.finished()
    }

    private func addPrograms(to archive: inout CpioArchive) throws {
        var programs = [installation.program]
        var libraries = LoadedLibraries.paths()
        if hasDisk {
            for tool in try Self.tools() {
                programs.append(tool)
                libraries += Self.libraries(listed: try ChildProcess.output("ldd", [tool]))
            }
        }
        for path in programs {
            let name = path == installation.program ? "penumbra" : Self.lastName(of: path)
            archive.addFile("/usr/bin/\(name)", try Files.read(path), permissions: 0o755)
        }
        var added: Set<String> = []
        for path in libraries {
            let name = Self.lastName(of: path)
            guard added.insert(name).inserted else { continue }
            // The loader's path is written in the programs; the rest is found by LD_LIBRARY_PATH.
            let place = name.hasPrefix("ld-linux") ? "/lib64/\(name)" : "\(Self.libraryDirectory)/\(name)"
            archive.addFile(place, try Files.read(path), permissions: 0o755)
        }
    }

    /// What containers' disks are made with, and connects them to the network.
    private static func tools() throws(MachineError) -> [String] {
        try [("mke2fs", "e2fsprogs"), ("passt", "passt")].map { tool throws(MachineError) in
            guard let path = Files.program(tool.0) else {
                throw .missing(
                    what: tool.0, path: "\(tool.0) in PATH", remedy: "install Debian's package \(tool.1)")
            }
            return path
        }
    }

    /// The paths in what ldd(1) prints: "NAME => PATH (ADDRESS)", or PATH alone for the loader.
    static func libraries(listed text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            line.split(whereSeparator: \.isWhitespace).first { $0.hasPrefix("/") }.map(String.init)
        }
    }

    private static func lastName(of path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }

    private func addModules(to archive: inout CpioArchive) throws {
        let modules = kernel.agentModules + (hasDisk ? kernel.diskModules : [])
        for (index, path) in modules.enumerated() {
            // init loads them in the order of their names.
            let number = (index < 10 ? "0" : "") + String(index)
            let suffix = path.hasSuffix(".xz") ? ".ko.xz" : ".ko"
            archive.addFile("/modules/devices/\(number)\(suffix)", try Files.read(path))
        }
        if let module { archive.addFile("/modules/penumbra.ko", try Files.read(module)) }
    }
}
