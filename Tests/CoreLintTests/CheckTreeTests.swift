// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// Runs tools/check-tree over small repositories with one thing wrong in each.
@Suite struct CheckTreeTests {
    private static let script = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("tools/check-tree").path

    private static let both = "// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0\n"
    private static let apache = "// SPDX-License-Identifier: Apache-2.0\n"

    private func run(_ command: [String], in directory: URL) throws -> (status: Int32, output: String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.currentDirectoryURL = directory
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    /// Lines that check-tree prints about a repository with these files.
    private func check(_ files: [String: String]) throws -> [String] {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("CheckTreeTests-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        for (name, text) in files {
            let file = directory.appendingPathComponent(name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
        _ = try run(["git", "init", "-q"], in: directory)
        let result = try run([Self.script, directory.path], in: directory)
        let lines = result.output.split(separator: "\n").map(String.init)
        #expect((result.status == 0) == (lines.last == "check-tree: clean"), "\(result)")
        #expect(result.status == 0 || result.status == 1, "\(result)")
        return lines.dropLast().filter { !$0.contains("is listed for the seam") }
    }

    @Test func aCleanTreePasses() throws {
        let lines = try check([
            "Makefile": "# SPDX-License-Identifier: Apache-2.0\nbuild test:\n\ttrue\n",
            "Package.swift": "// swift-tools-version: 6.0\n" + Self.apache,
            "host/main.c": "// SPDX-License-Identifier: GPL-2.0-only\n",
            "interface/types.h": "/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */\n",
            "core/WindowsUnsafe.swift": Self.both + "let p: UnsafeRawPointer\nccore_invlpg(0)\n",
            "core/Walker.swift": Self.both + "let n = Int64(bitPattern: value)\n",
            "README.md":
                "[code](core/Walker.swift#top) [web](https://example.org/x)\n\nRun `make test`, make sure.\n",
            "tools/run": "#!/bin/bash\n# SPDX-License-Identifier: Apache-2.0\nmktemp /tmp/run-XXXXXX\n",
        ])
        #expect(lines == [])
    }

    @Test(arguments: [
        ("host/main.c", Self.both), ("core/A.swift", Self.apache), ("Sources/A.swift", "import B\n"),
        ("interface/a.h", "/* SPDX-License-Identifier: GPL-2.0-only */\n"), ("tools/a", "#!/bin/sh\ntrue\n"),
        ("Makefile", "all:\n"), ("Sources/A.swift", "\n" + Self.apache),
    ]) func refusesWrongLicences(file: String, text: String) throws {
        let lines = try check([file: text])
        #expect(
            lines.count == 1 && lines[0].hasPrefix("\(file):1: no line `SPDX-License-Identifier: "),
            "\(lines)")
    }

    @Test(arguments: [
        "var p: UnsafeMutablePointer<Int>", "f(UnsafeRawBufferPointer(x))", "UInt(bitPattern: p)",
        "UnsafePointer<Int>(bitPattern: 1)", "withUnsafeBytes(of: x) { $0 }",
        "unsafeBitCast(x, to: Int.self)",
    ]) func refusesRawPointersInTheCore(line: String) throws {
        let lines = try check([
            "core/Walker.swift": Self.both + line + "\n", "Sources/A.swift": Self.apache + line + "\n",
        ])
        #expect(lines.count == 1 && lines[0].hasPrefix("core/Walker.swift:2: raw pointers"), "\(lines)")
    }

    @Test func refusesTheSeamOutsideListedFiles() throws {
        let call = Self.both + "ccore_load64(0)\n"
        let lines = try check(["core/Elsewhere.swift": call, "core/Memory/Frames.swift": call])
        #expect(
            lines.count == 1 && lines[0].hasPrefix("core/Elsewhere.swift:2: a call of the seam"), "\(lines)")
    }

    /// The texts are put together here so that the tree itself stays clean of them.
    @Test(arguments: [
        ("TO" + "DO later", "unfinished"), ("FIX" + "ME", "unfinished"), ("x  ", "white space"),
        ("see /wo" + "rk/main", "a path of one machine"), ("cd /home" + "/joe", "a path of one machine"),
        ("https://builds.inter" + "nal/x", "a host of one network"),
        ("<<<<" + "<<< ours", "a merge conflict"),
    ]) func refusesLeftovers(text: String, what: String) throws {
        let lines = try check(["notes.txt": "first\n" + text + "\n"])
        #expect(
            lines.count == 1 && lines[0].hasPrefix("notes.txt:2: ") && lines[0].contains(what), "\(lines)")
    }

    @Test func refusesLargeFiles() throws {
        let lines = try check(["blob": String(repeating: "x", count: 1024 * 1024 + 1)])
        #expect(lines.count == 1 && lines[0].hasPrefix("blob: 1048577 bytes"), "\(lines)")
    }

    @Test func refusesDeadLinksAndTargets() throws {
        let lines = try check([
            "docs/a.md": "[x](gone.md)\n[y](../docs/a.md#z)\n\n    make missing\n\nRun `make build`.\n",
            "Makefile": "# SPDX-License-Identifier: Apache-2.0\nbuild:\nX := missing:\n",
        ])
        #expect(lines.count == 2, "\(lines)")
        #expect(lines.contains { $0.hasPrefix("docs/a.md:1: the link to gone.md") })
        #expect(lines.contains { $0.hasPrefix("docs/a.md:4: `make missing`") })
    }

    @Test func ignoredFilesAreNotRead() throws {
        #expect(try check([".gitignore": "build/\n", "build/a.swift": "let x = 1  \n"]) == [])
    }
}
