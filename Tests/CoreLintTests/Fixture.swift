// SPDX-License-Identifier: Apache-2.0
import Foundation

@testable import CoreLint

/// One function of a made-up disassembly. `@name` in a line stands for that function's address.
struct Source {
    let name: String
    let lines: [String]
    var section = ".text"

    init(_ name: String, _ lines: [String], section: String = ".text") {
        self.name = name
        self.lines = lines
        self.section = section
    }
}

/// Writes functions as llvm-objdump prints them, four bytes an instruction.
func disassembly(_ sources: [Source]) -> Disassembly {
    var addresses: [String: UInt64] = [:]
    var next: UInt64 = 0xffff_8280_0000_1000
    for source in sources {
        addresses[source.name] = next
        next += 4 * UInt64(source.lines.count)
    }
    var text = "\ncore.elf:\tfile format elf64-x86-64\n"
    for source in sources {
        var address = addresses[source.name]!
        text += "\nDisassembly of section \(source.section):\n\n\(hexadecimal(address)) <\(source.name)>:\n"
        for line in source.lines {
            text += "\(hexadecimal(address)):      \t\(resolve(line, addresses))\n"
            address += 4
        }
    }
    return Disassembly(parsing: text)
}

private func resolve(_ line: String, _ addresses: [String: UInt64]) -> String {
    guard let at = line.firstIndex(of: "@") else { return line }
    let reference = line[line.index(after: at)...]
    let parts = reference.split(separator: "+")
    let base = addresses[String(parts[0])]!
    let offset = parts.count > 1 ? UInt64(parts[1])! : 0
    return line[..<at] + "0x\(hexadecimal(base + offset)) <\(reference)>"
}

private func hexadecimal(_ value: UInt64) -> String { String(value, radix: 16) }

func lint(_ sources: [Source], allow: String = "") throws -> [Finding] {
    Linter(allow: try AllowList(parsing: allow)).check(disassembly(sources)).findings
}

/// Findings in one function `f` with these instructions and a `ret`.
func lint(_ lines: String..., allow: String = "") throws -> [Finding] {
    try lint([Source("f", lines + ["retq"])], allow: allow)
}

/// Builds small images with the toolchain's own compilers.
struct ImageBuilder {
    let directory: URL

    init() throws {
        directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("CoreLintTests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    func remove() throws { try FileManager.default.removeItem(at: directory) }

    /// Assembles and links `assembly`; `link` adds to the linker's arguments.
    func image(_ assembly: String, link: [String] = []) throws -> URL {
        try write(assembly, to: "image.S")
        try run("clang", ["--target=x86_64-unknown-none-elf", "-g", "-c", "image.S", "-o", "image.o"])
        try run(
            "ld.lld",
            [
                "-static", "-z", "max-page-size=4096", "-z", "norelro", "--image-base=0xffff828000000000",
                "-e", "start",
            ]
                + link + ["image.o", "-o", "image.elf"])
        return directory.appendingPathComponent("image.elf")
    }

    /// Compiles `swift` with the core's flags and links it with `assembly`.
    func image(swift: String, assembly: String) throws -> URL {
        try write(swift, to: "core.swift")
        try run(
            "swiftc",
            [
                "-target", "x86_64-unknown-none-elf", "-enable-experimental-feature", "Embedded", "-wmo",
                "-parse-as-library", "-Osize", "-g", "-Xcc", "-mno-red-zone", "-Xcc", "-mno-mmx", "-Xcc",
                "-mno-sse", "-Xcc", "-fno-pic", "-Xfrontend", "-function-sections", "-Xfrontend",
                "-disable-stack-protector", "-Xfrontend", "-no-allocations", "-Xllvm",
                "-min-jump-table-entries=1000", "-c", "core.swift", "-o", "core.o",
            ])
        return try image(assembly, link: ["--gc-sections", "core.o"])
    }

    private func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: directory.appendingPathComponent(name))
    }

    struct ToolFailure: Error {
        let command: [String]
        let output: String
    }

    private func run(_ tool: String, _ arguments: [String]) throws {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [tool] + arguments
        process.currentDirectoryURL = directory
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw ToolFailure(command: [tool] + arguments, output: text)
        }
    }
}
