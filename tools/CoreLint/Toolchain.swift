// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The programs that take an image apart: from the given path, PATH, or beside swiftc.
public struct Toolchain {
    public struct ToolError: Error, CustomStringConvertible {
        public let description: String
    }

    private let objdump: URL
    private let demangler: URL
    /// Names source lines; without it the report has none.
    private let symbolizer: URL?

    public init(objdump: String? = nil, searchPath: String? = nil) throws(ToolError) {
        let path = searchPath ?? ProcessInfo.processInfo.environment["PATH"] ?? ""
        let directories = Self.directories(path)
        if let objdump {
            guard FileManager.default.isExecutableFile(atPath: objdump) else {
                throw ToolError(description: "\(objdump) is not an executable file; check --objdump")
            }
            self.objdump = URL(fileURLWithPath: objdump)
        } else {
            self.objdump = try Self.require("llvm-objdump", in: directories)
        }
        demangler = try Self.require("swift-demangle", in: directories)
        symbolizer = Self.find("llvm-symbolizer", in: directories)
    }

    /// PATH, then the directory that a `swiftc` on it really lives in.
    private static func directories(_ path: String) -> [URL] {
        let listed = path.split(separator: ":").map { URL(fileURLWithPath: String($0), isDirectory: true) }
        guard let compiler = find("swiftc", in: listed) else { return listed }
        return listed + [compiler.resolvingSymlinksInPath().deletingLastPathComponent()]
    }

    private static func find(_ name: String, in directories: [URL]) -> URL? {
        directories.map { $0.appendingPathComponent(name) }
            .first { FileManager.default.isExecutableFile(atPath: $0.path) }
    }

    private static func require(_ name: String, in directories: [URL]) throws(ToolError) -> URL {
        guard let tool = find(name, in: directories) else {
            throw ToolError(
                description: "\(name) is neither in PATH nor beside swiftc; install a Swift toolchain")
        }
        return tool
    }
}

extension Toolchain {
    /// The image's disassembly, its functions under the names that people use.
    public func disassemble(_ image: URL) throws -> Disassembly {
        let text = try run(objdump, ["-d", "--no-show-raw-insn", image.path])
        var disassembly = Disassembly(parsing: text)
        guard !disassembly.functions.isEmpty else {
            throw ToolError(description: "\(image.path) has no code; give the linked core image, unstripped")
        }
        disassembly.rename(try demangle(disassembly.functions.map(\.symbol)))
        return disassembly
    }

    private func demangle(_ symbols: [String]) throws -> [String: String] {
        let text = try run(demangler, ["--compact", "--simplified"], input: symbols.joined(separator: "\n"))
        let names = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        return Dictionary(zip(symbols, names), uniquingKeysWith: { first, _ in first })
    }

    /// Adds `file:line` to the findings of a report where the image's DWARF has it.
    public func locate(_ report: inout Linter.Report, in image: URL) throws {
        guard let symbolizer else { return }
        let indices = report.findings.indices.filter { report.findings[$0].address != nil }
        guard !indices.isEmpty else { return }
        let addresses = indices.compactMap { report.findings[$0].address }
            .map { "0x" + String($0, radix: 16) }
        let lines = try run(
            symbolizer,
            ["--obj=\(image.path)", "--functions=none", "--no-inlines", "--output-style=GNU"],
            input: addresses.joined(separator: "\n") + "\n")
        for (index, line) in zip(indices, lines.split(separator: "\n")) where !line.hasPrefix("?") {
            report.findings[index].location = String(line.prefix { $0 != " " })
        }
    }

    /// Runs a tool and returns what it prints. Input goes through a file, so that neither side
    /// can wait for the other with a full pipe.
    private func run(_ tool: URL, _ arguments: [String], input: String = "") throws -> String {
        let inputFile = FileManager.default.temporaryDirectory
            .appendingPathComponent("core-lint-\(UUID().uuidString)")
        try Data(input.utf8).write(to: inputFile)
        defer { try? FileManager.default.removeItem(at: inputFile) }
        let process = Process()
        let output = Pipe()
        process.executableURL = tool
        process.arguments = arguments
        process.standardInput = try FileHandle(forReadingFrom: inputFile)
        process.standardOutput = output
        try process.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw ToolError(
                description: "\(tool.lastPathComponent) failed with status \(process.terminationStatus);"
                    + " run it by hand: \(tool.path) \(arguments.joined(separator: " "))")
        }
        return String(decoding: data, as: UTF8.self)
    }
}
