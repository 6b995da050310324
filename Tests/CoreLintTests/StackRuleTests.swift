// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import CoreLint

@Suite struct StackProfileTests {
    private func profile(_ lines: String...) -> StackProfile {
        let code = disassembly([Source("f", lines)])
        return StackProfile(of: code.functions[0], following: nil)
    }

    @Test func addsPushesAndSubtractions() {
        let profile = profile(
            "pushq\t%rbp", "movq\t%rsp, %rbp", "pushq\t%rbx", "subq\t$0x328, %rsp", "addq\t$808, %rsp",
            "popq\t%rbx", "popq\t%rbp", "retq")
        #expect(profile.frame == 8 + 8 + 808)
        #expect(profile.problems.isEmpty)
    }

    @Test func followsBranchesRatherThanLines() {
        // The early return gives the frame back before the second path takes another one.
        let profile = profile(
            "subq\t$0x100, %rsp", "je\t@f+16", "addq\t$0x100, %rsp", "retq", "subq\t$0x20, %rsp",
            "addq\t$0x120, %rsp", "retq")
        #expect(profile.frame == 0x120)
    }

    @Test func knowsFramePointersAlignmentAndLea() {
        #expect(profile("pushq\t%rbp", "movq\t%rsp, %rbp", "subq\t$64, %rsp", "leave", "retq").frame == 72)
        #expect(profile("andq\t$-64, %rsp", "retq").frame == 56)
        #expect(profile("leaq\t-0x200(%rsp), %rsp", "retq").frame == 512)
        let restored = profile(
            "pushq\t%rbp", "movq\t%rsp, %rbp", "subq\t$64, %rsp", "movq\t%rbp, %rsp", "pushq\t%rax",
            "popq\t%rax", "popq\t%rbp", "retq")
        #expect(restored.frame == 72)
        #expect(restored.problems.isEmpty)
    }

    @Test func readsLargeFramesFromARegister() {
        #expect(profile("movl\t$0x2000, %eax", "subq\t%rax, %rsp", "retq").frame == 0x2000)
    }

    @Test func reportsWhatItCannotFollow() {
        #expect(profile("subq\t%rdi, %rsp", "retq").problems.map(\.problem) == [.unknownSize])
        #expect(profile("movq\t%gs:0x8, %rsp", "retq").problems.map(\.problem) == [.stackSwitch])
        #expect(profile("pushq\t%rax", "jmp\t@f", "retq").problems.map(\.problem) == [.growsInLoop])
    }
}

@Suite struct StackRuleTests {
    @Test func limitsFrames() throws {
        let lines = ["subq\t$0x208, %rsp", "addq\t$0x208, %rsp", "retq"]
        #expect(try lint([Source("f", lines)]).map(\.rule) == [.frame])
        #expect(try lint([Source("f", lines)], allow: "limit frame 520").isEmpty)
        #expect(try lint([Source("f", lines)], allow: "frame 520 f -- a path of four levels").isEmpty)
        let tight = try lint([Source("f", lines)], allow: "frame 519 f -- a path of four levels")
        #expect(tight.map(\.rule) == [.frame])
    }

    @Test func reportsStacksThatCannotBeFollowed() throws {
        #expect(try lint("subq\t%rdi, %rsp").map(\.rule) == [.frame])
        #expect(try lint("subq\t%rdi, %rsp", allow: "unbounded f -- a planted bug").isEmpty)
        #expect(try lint("movq\t%gs:0x8, %rsp").map(\.rule) == [.frame])
        #expect(try lint("movq\t%gs:0x8, %rsp", allow: "stack-switch f -- world switch").isEmpty)
        #expect(try lint([Source("f", ["pushq\t%rax", "jmp\t@f"])]).map(\.rule) == [.frame])
    }

    private let chain = [
        Source("entry", ["subq\t$400, %rsp", "callq\t@middle", "addq\t$400, %rsp", "callq\t@leaf", "retq"]),
        Source("middle", ["subq\t$300, %rsp", "callq\t@leaf", "addq\t$300, %rsp", "retq"]),
        Source("leaf", ["pushq\t%rbx", "popq\t%rbx", "retq"]),
    ]

    @Test func sumsTheDeepestChain() throws {
        let report = Linter(allow: AllowList()).check(disassembly(chain))
        #expect(report.findings.isEmpty)
        let expected = StackChain(
            bytes: 400 + 8 + 300 + 8 + 8, functions: ["entry", "middle", "leaf"])
        #expect(report.stackChains == [expected])
    }

    @Test func limitsTheDeepestChain() throws {
        #expect(try lint(chain, allow: "limit stack 724").isEmpty)
        let findings = try lint(chain, allow: "limit stack 723")
        #expect(findings.map(\.rule) == [.depth])
        #expect(findings[0].problem.contains("724 bytes: entry > middle > leaf"))
    }

    @Test func limitsListedStacks() throws {
        let tight = try lint(chain, allow: "stack 315 middle -- its own interrupt stack")
        #expect(tight.map(\.rule) == [.depth])
        #expect(try lint(chain, allow: "stack 316 middle -- its own interrupt stack").isEmpty)
    }

    @Test func countsTailCallsWithoutAReturnAddress() throws {
        let report = Linter(allow: AllowList()).check(
            disassembly([Source("a", ["jmp\t@b"]), Source("b", ["pushq\t%rax", "popq\t%rax", "retq"])]))
        #expect(report.stackChains == [StackChain(bytes: 8, functions: ["a", "b"])])
    }

    @Test func followsAssemblyThatRunsIntoTheNextSymbol() throws {
        let report = Linter(allow: AllowList()).check(
            disassembly([Source("stub", ["pushq\t$3"]), Source("common", ["pushq\t%rax", "ud2"])]))
        #expect(report.stackChains == [StackChain(bytes: 16, functions: ["stub", "common"])])
    }

    @Test func refusesRecursionAndPrintsTheCycle() throws {
        let findings = try lint([
            Source("a", ["callq\t@b", "retq"]), Source("b", ["callq\t@c", "retq"]),
            Source("c", ["callq\t@a", "retq"]),
        ])
        #expect(findings.map(\.rule) == [.recursion])
        #expect(findings[0].problem == "calls come back: a > b > c > a")
        #expect(try lint([Source("a", ["callq\t@a", "retq"])]).map(\.rule) == [.recursion])
    }

    @Test func aLoopOfJumpsIsNoRecursion() throws {
        #expect(try lint([Source("a", ["jmp\t@b"]), Source("b", ["jmp\t@a"])]).isEmpty)
    }

    private let throughPointer = [
        Source("caller", ["callq\t@__x86_indirect_thunk_r11", "retq"]),
        Source("target", ["subq\t$64, %rsp", "callq\t@caller", "addq\t$64, %rsp", "retq"]),
        Source(
            "__x86_indirect_thunk_r11",
            [
                "callq\t@__x86_indirect_thunk_r11+16", "pause", "lfence",
                "jmp\t@__x86_indirect_thunk_r11+4", "movq\t%r11, (%rsp)", "retq",
            ]),
    ]

    @Test func aSwitchOfStacksStartsAChain() throws {
        let sources = [
            Source("gate", ["subq\t$400, %rsp", "movq\t0x8(%rbx), %rsp", "callq\t@core", "jmp\t@again"]),
            Source("core", ["subq\t$100, %rsp", "addq\t$100, %rsp", "retq"]),
            Source("again", ["pushq\t%rax", "jmp\t@gate"]),
        ]
        let allow = try AllowList(parsing: "stack-switch gate -- takes the core's stack")
        let report = Linter(allow: allow).check(disassembly(sources))
        #expect(report.findings.isEmpty)
        #expect(
            report.stackChains == [
                StackChain(bytes: 408, functions: ["gate", "again", "gate"]),
                StackChain(bytes: 108, functions: ["gate", "core"]),
            ])
    }

    @Test func followsCodeThatOnlyTheHardwareReaches() throws {
        let stubs = [
            Source("stubs", ["jmp\t@first", "int3", "pushq\t$1", "jmp\t@second"]),
            Source("first", ["ud2"]), Source("second", ["pushq\t%rax", "ud2"]),
        ]
        let report = Linter(allow: AllowList()).check(disassembly(stubs))
        #expect(report.stackChains == [StackChain(bytes: 16, functions: ["stubs", "second"])])
    }

    @Test func callsThroughPointersNeedListedTargets() throws {
        let findings = try lint(throughPointer)
        #expect(findings.map(\.rule) == [.indirectBranch])
        #expect(findings[0].problem.contains("nothing says what it may reach"))
    }

    @Test func followsListedTargets() throws {
        let findings = try lint(
            throughPointer, allow: "indirect-target caller -> target -- the personality's hook")
        #expect(findings.map(\.rule) == [.recursion])
        let hook = Array(throughPointer.prefix(1)) + [Source("hook", ["retq"])] + throughPointer.suffix(1)
        #expect(try lint(hook, allow: "indirect-target caller -> hook -- the hook").isEmpty)
    }

    @Test func refusesTargetsThatAreNoFunction() throws {
        #expect(try lint("callq\t0x0").map(\.rule) == [.undefined])
    }
}
