// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The machine's first and only root file system: busybox, this program as the agent, modules.
struct Initramfs {
    static let libraryDirectory = "/lib/penumbra"

    let kernel: KernelFiles
    /// penumbra.ko for that kernel, or nil for a machine without.
    let module: String?
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
        try addAgent(to: &archive)
        try addModules(to: &archive)
        return archive.finished()
    }

    private func addAgent(to archive: inout CpioArchive) throws {
        archive.addFile("/usr/bin/penumbra", try Files.read(installation.program), permissions: 0o755)
        for path in LoadedLibraries.paths() {
            let name = path.split(separator: "/").last.map(String.init) ?? path
            // The loader's path is written in the program; the rest is found by LD_LIBRARY_PATH.
            let place = name.hasPrefix("ld-linux") ? "/lib64/\(name)" : "\(Self.libraryDirectory)/\(name)"
            archive.addFile(place, try Files.read(path), permissions: 0o755)
        }
    }

    private func addModules(to archive: inout CpioArchive) throws {
        for (index, path) in kernel.virtioModules.enumerated() {
            // init loads them in the order of their names.
            archive.addFile("/modules/virtio/\(index).ko", try Files.read(path))
        }
        if let module { archive.addFile("/modules/penumbra.ko", try Files.read(module)) }
    }
}
