// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import CoreLint

@Suite struct RuntimeRuleTests {
    @Test(arguments: [
        "swift_retain", "swift_release", "swift_once", "swift_allocObject", "malloc", "posix_memalign",
        "free", "__stack_chk_fail", "_Znwm",
    ]) func refusesCallsToTheRuntime(symbol: String) throws {
        for call in ["callq", "jmp"] {
            let code = [Source("f", ["\(call)\t@\(symbol)", "retq"]), Source(symbol, ["retq"])]
            #expect(try lint(code).map(\.rule) == [.runtime])
            #expect(try lint(code, allow: "runtime \(symbol) -- shown harmless").isEmpty)
        }
    }

    @Test(arguments: ["memset", "memcpy", "memmove", "freeze", "swiftly"])
    func allowsOtherCalls(symbol: String) throws {
        #expect(try lint([Source("f", ["callq\t@\(symbol)", "retq"]), Source(symbol, ["retq"])]).isEmpty)
    }
}

@Suite struct EntryTextTests {
    private func entry(_ line: String) -> [Source] {
        [Source("gate", [line, "retq"], section: ".entry.text"), Source("handler", ["retq"])]
    }

    @Test func refusesCallsOutOfEntryText() throws {
        for line in ["callq\t@handler", "jne\t@handler"] {
            #expect(try lint(entry(line)).map(\.rule) == [.entryText])
            #expect(try lint(entry(line), allow: "entry-call handler -- after the root switch").isEmpty)
        }
    }

    @Test func refusesReferencesOutOfEntryText() throws {
        let table = "movq\t-0x10(%rip), %rax # 0xffff828000009000 <table+0x8>"
        #expect(try lint(entry(table)).map(\.rule) == [.entryText])
        #expect(try lint(entry(table), allow: "entry-reference table -- after the root switch").isEmpty)
        let vmPage = "movabsq\t$-0x7d7f80000000, %rax # imm = 0xFFFF828080000000"
        #expect(try lint(entry(vmPage)).map(\.rule) == [.entryText])
        #expect(try lint(entry(vmPage), allow: "entry-reference 0xffff828080000000 -- core root").isEmpty)
    }

    @Test(arguments: [
        "callq\t@gate+4", "leaq\t0x0(%rip), %rax # 0xffff828000001004 <gate+0x4>",
        "movabsq\t$0xffff828040012000, %rax", "movq\t$0x10, %rax", "movq\t%gs:0x10, %rax",
    ]) func allowsWhatTheEntryViewMaps(line: String) throws {
        #expect(try lint(entry(line)).isEmpty)
    }

    @Test func theRestOfTheTextMayReferToAnything() throws {
        #expect(try lint("movq\t-0x10(%rip), %rax # 0xffff828000009000 <table>").isEmpty)
    }
}
