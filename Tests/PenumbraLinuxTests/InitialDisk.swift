// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport

/// An initial RAM disk for test guests: Programs/ compiled, busybox, and what else is asked for.
struct InitialDisk {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Built once for all tests; the system cleans the temporary folder up.
    static let programs = Result { try InitialDisk().finished() }
    static let stress = Result { try InitialDisk().adding("/usr/bin/stress-ng").finished() }

    /// With what a kernel's disks need: their driver, ext4 and its tools.
    static func disks(_ kernel: String) throws -> URL {
        try InitialDisk().adding("/sbin/mkfs.ext4").adding("/sbin/fsck.ext4").addingModules(
            ["crc16", "mbcache", "crc32c_generic", "jbd2", "ext4", "xen-blkfront"], of: kernel
        ).finished()
    }

    /// With a kernel's network driver.
    static func network(_ kernel: String) throws -> URL {
        try InitialDisk().addingModules(["xen-netfront"], of: kernel).finished()
    }

    /// One module of a kernel package's, unpacked.
    static func module(_ name: String, of kernel: String) throws -> URL {
        let disk = try InitialDisk().addingModules([name], of: kernel)
        return disk.root.appending(path: "modules/0-\(name).ko")
    }

    /// With what a kernel's shares need.
    static func shares(_ kernel: String) throws -> URL {
        let disk = try InitialDisk()
        try disk.shell("install '\(sources.path)/shares' bin")
        return try disk.addingModules(["netfs", "fscache", "9pnet", "9p", "9pnet_xen"], of: kernel).finished()
    }

    /// The static executable of one program, to run in the machine.
    static func program(_ name: String) throws -> URL {
        let disk = try InitialDisk()
        return disk.root.appending(path: "bin/\(name)")
    }

    private static let sources = Tree.root.appending(path: "Tests/PenumbraLinuxTests/Programs")
    private let work = FileManager.default.temporaryDirectory.appending(path: "penumbra-\(UUID().uuidString)")
    private var root: URL { work.appending(path: "root") }

    private init() throws {
        try FileManager.default.createDirectory(
            at: root.appending(path: "bin"), withIntermediateDirectories: true)
        for program in ["memory", "forks", "vector", "tasks", "disk", "share"] {
            try compile(program, to: "bin/\(program)", ["-pthread"])
        }
        try compile("nothing", to: "nothing", ["-nostdlib"])
        try shell("install /usr/bin/busybox bin && install '\(Self.sources.path)/init' .")
    }

    private func compile(_ program: String, to path: String, _ options: [String]) throws {
        let words = ["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", root.appending(path: path).path]
        try run("/usr/bin/cc", words + options + [Self.sources.appending(path: "\(program).c").path])
    }

    /// With an installed program and the libraries that it loads.
    private func adding(_ program: String) throws -> InitialDisk {
        try shell(
            """
            install \(program) bin
            ldd \(program) | grep -o '/[^ ]*' | while read -r library; do install -D $library .$library; done
            """)
        return self
    }

    /// Modules of a kernel package's, in the order to load them; those that the kernel has built in are
    /// not there.
    private func addingModules(_ names: [String], of kernel: String) throws -> InitialDisk {
        let folder = Tree.root.appending(path: ".build-cache/kernels/\(kernel)/lib/modules").path
        try shell("mkdir modules")
        for (index, name) in names.enumerated() {
            try shell(
                """
                find '\(folder)/' -name '\(name).ko*' | while read -r module; do
                    case $module in *.xz) xz -dc $module ;; *) cat $module ;; esac >modules/\(index)-\(name).ko
                done
                """)
        }
        return self
    }

    private func finished() throws -> URL {
        let disk = work.appending(path: "initrd")
        try shell("find . | cpio --quiet -o -H newc | gzip -1 >'\(disk.path)'")
        return disk
    }

    private func shell(_ script: String) throws {
        try run("/bin/bash", ["-euo", "pipefail", "-c", "cd '\(root.path)'\n\(script)"])
    }

    private func run(_ program: String, _ arguments: [String]) throws {
        let finished = try RunningProgram(URL(filePath: program), arguments).finished()
        guard finished.status == 0 else { throw Failure(description: "\(program): \(finished.errors)") }
    }
}
