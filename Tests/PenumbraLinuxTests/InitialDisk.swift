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

    private static let sources = Tree.root.appending(path: "Tests/PenumbraLinuxTests/Programs")
    private let work = FileManager.default.temporaryDirectory.appending(path: "penumbra-\(UUID().uuidString)")
    private var root: URL { work.appending(path: "root") }

    private init() throws {
        try FileManager.default.createDirectory(
            at: root.appending(path: "bin"), withIntermediateDirectories: true)
        for program in ["memory", "forks", "vector", "tasks"] {
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
