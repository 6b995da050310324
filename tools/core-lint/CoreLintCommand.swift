// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CoreLint
import Foundation

@main
struct CoreLintCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "core-lint",
        abstract: "Checks the disassembly of the core's image: what must not be in ring 0 is not in it.",
        discussion: """
            Exits with 1 if there are findings, one line each: where, what is wrong, what to do.
            The allow file names the exceptions, each with its reason.
            """)

    @Argument(help: "The linked core image (ELF, with symbols).")
    var image: String

    @Option(help: "The allow file.")
    var allow: String?

    @Option(help: "The llvm-objdump to use, instead of the one in PATH or beside swiftc.")
    var objdump: String?

    @Flag(help: "Print the deepest chain of calls from every entry of the image.")
    var stacks = false

    func run() throws {
        let url = URL(fileURLWithPath: image)
        let allowList = try readAllowList()
        let file = try ELFImage([UInt8](try read(image)))
        let toolchain = try Toolchain(objdump: objdump)
        let disassembly = try toolchain.disassemble(url)
        var report = Linter(allow: allowList).check(disassembly, image: file)
        try toolchain.locate(&report, in: url)
        report.findings.forEach { print($0) }
        summarise(report, stackLimit: allowList.stackLimit)
        if !report.findings.isEmpty { throw ExitCode.failure }
    }

    private func readAllowList() throws -> AllowList {
        guard let allow else { return AllowList() }
        do {
            return try AllowList(parsing: String(decoding: try read(allow), as: UTF8.self))
        } catch let error as AllowList.SyntaxError {
            throw ValidationError("\(allow): \(error)")
        }
    }

    private func read(_ path: String) throws -> Data {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ValidationError("\(path) cannot be read; check that it exists")
        }
        return data
    }

    private func summarise(_ report: Linter.Report, stackLimit: Int) {
        print("core-lint: \(report.functionCount) functions, \(report.findings.count) findings")
        for chain in report.stackChains.prefix(stacks ? report.stackChains.count : 1) {
            print("core-lint: deepest stack, of \(stackLimit): \(chain)")
        }
    }
}
