// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import CoreLint

/// Rules on real files, from the compiler to the report.
@Suite struct ImageTests {
    private func check(_ image: URL, allow: String = "") throws -> Linter.Report {
        let file = try ELFImage([UInt8](try Data(contentsOf: image)))
        let toolchain = try Toolchain()
        var report = Linter(allow: try AllowList(parsing: allow)).check(
            try toolchain.disassemble(image), image: file)
        try toolchain.locate(&report, in: image)
        return report
    }

    /// Findings about `assembly` behind a `start` that returns.
    private func findings(_ assembly: String, link: [String] = [], allow: String = "") throws -> [Finding] {
        let builder = try ImageBuilder()
        defer { #expect(throws: Never.self) { try builder.remove() } }
        let start = ".text\n.globl start\n.type start,@function\nstart: ret\n"
        return try check(try builder.image(start + assembly + "\n", link: link), allow: allow).findings
    }

    private let swift = """
        public struct Counter {
            var slots: InlineArray<4, Int>
            @inline(never) func sum(_ factor: Int) -> Int {
                var total = 0
                for index in 0..<4 { total += slots[index] &* factor }
                return total
            }
        }
        @c public func core_enter(_ value: Int) -> Int {
            let counter = Counter(slots: InlineArray(repeating: value))
            switch value {
            case 0: return 7
            case 1: return 5
            case 2: return 11
            case 3: return counter.sum(2) &+ 3
            case 4: return -3
            case 5: return counter.sum(value) &+ 9
            default: return value &+ 1
            }
        }
        """
    private let entry = """
        .section .entry.text,"ax"
        .globl start
        .type start,@function
        start:
            cld
            call core_enter
            iretq
        .section .note.GNU-stack
        """
    private let entryAllow = """
        privileged iret start -- back to the guest
        entry-call core_enter -- runs with the core's root
        """

    @Test func aCleanCorePasses() throws {
        let builder = try ImageBuilder()
        defer { #expect(throws: Never.self) { try builder.remove() } }
        let report = try check(try builder.image(swift: swift, assembly: entry), allow: entryAllow)
        #expect(report.findings.map(\.description) == [])
        #expect(report.stackChains.first?.functions == ["start", "core_enter", "Counter.sum(_:)"])
    }

    @Test func namesSwiftFunctionsAndLines() throws {
        let builder = try ImageBuilder()
        defer { #expect(throws: Never.self) { try builder.remove() } }
        let image = try builder.image(swift: swift, assembly: entry)
        let report = try check(image, allow: entryAllow + "\nlimit frame 4")
        let finding = try #require(report.findings.first { $0.function == "Counter.sum(_:)" })
        #expect(finding.rule == .frame)
        #expect(finding.location?.hasSuffix("core.swift:3") == true)
    }

    @Test func floatingPointInSwiftIsFound() throws {
        let builder = try ImageBuilder()
        defer { #expect(throws: Never.self) { try builder.remove() } }
        let float = "@c public func core_enter(_ value: Int) -> Int { Int(Double(value) * 1.5) }"
        let report = try check(try builder.image(swift: float, assembly: entry), allow: entryAllow)
        #expect(report.findings.contains { $0.rule == .vector && $0.function == "core_enter" })
    }

    @Test func aMinimalImagePasses() throws {
        #expect(try findings(".section .rodata\n.quad 1").isEmpty)
    }

    @Test(arguments: [".data", ".bss", ".init_array,\"aw\"", ".lazy,\"aw\""])
    func refusesWritableData(section: String) throws {
        let assembly = section == ".bss" ? ".bss\n.skip 8" : ".section \(section)\n.quad 1"
        #expect(try findings(assembly).map(\.rule) == [.image])
        let name = section.prefix { $0 != "," }
        #expect(try findings(assembly, allow: "section \(name) -- for the test").isEmpty)
    }

    @Test func anExceptionMayUseAnySymbolOfTheAddress() throws {
        let privileged = ".globl first, second\nfirst:\nsecond: cli\nret"
        #expect(try findings(privileged).map(\.rule) == [.privileged])
        for name in ["first", "second"] {
            #expect(try findings(privileged, allow: "privileged cli \(name) -- for the test").isEmpty)
        }
    }

    @Test func tablesAmongTheCodeAreNotRead() throws {
        let table = "table: .quad 0xf4fafbee"
        #expect(try !findings(table).isEmpty)
        #expect(try findings(table, allow: "data table -- no code").isEmpty)
    }

    @Test func refusesThreadLocalData() throws {
        let problems = try findings(".section .tdata,\"awT\",@progbits\n.quad 1").map(\.problem)
        #expect(problems.contains { $0.contains(".tdata") })
        #expect(problems.contains { $0.contains("PT_TLS") })
    }

    @Test func refusesWritableCode() throws {
        let problems = try findings("", link: ["--omagic"]).map(\.problem)
        #expect(problems.contains { $0.contains("writable and executable") })
    }

    @Test func refusesRelocations() throws {
        let findings = try findings("call start\nret", link: ["--emit-relocs"])
        #expect(findings.contains { $0.problem.contains("holds relocations") })
    }

    @Test func refusesUndefinedSymbols() throws {
        let findings = try findings(
            ".weak missing\nmov missing(%rip), %rax\nret", link: ["--no-relax", "--noinhibit-exec"])
        #expect(findings.contains { $0.rule == .undefined && $0.problem == "missing is not defined" })
    }

    @Test func refusesAddressesOutsideTheWindow() throws {
        let problems = try findings("", link: ["--image-base=0xffffffff80000000"]).map(\.problem)
        #expect(problems.contains { $0.contains(".text at 0xffffffff8") })
        #expect(problems.contains { $0.contains("segment") && $0.contains("outside") })
    }

    @Test func refusesSharedObjects() throws {
        let problems = try findings("", link: ["-shared", "--no-gnu-unique"]).map(\.problem)
        #expect(problems.contains { $0.contains("e_type 3") })
        #expect(problems.contains { $0.contains("PT_DYNAMIC") })
    }

    @Test func refusesFilesThatAreNoImage() throws {
        #expect(throws: ELFImage.FormatError.self) { try ELFImage(Array("#!/bin/sh\n".utf8)) }
        var header: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1] + Array(repeating: 0, count: 58)
        header[18] = 62
        header[40] = 0xff
        header[60] = 1
        #expect(throws: ELFImage.FormatError.self) { try ELFImage(header) }
    }

    @Test func missingToolsAreNamed() {
        #expect(throws: Toolchain.ToolError.self) { try Toolchain(searchPath: "/nonexistent") }
        #expect(throws: Toolchain.ToolError.self) { try Toolchain(objdump: "/nonexistent/llvm-objdump") }
    }
}
