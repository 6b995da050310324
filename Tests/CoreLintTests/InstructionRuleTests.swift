// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import CoreLint

@Suite struct InstructionRuleTests {
    @Test(arguments: [
        "movaps\t%xmm0, (%rdi)", "vpaddd\t%ymm1, %ymm2, %ymm3", "vmovdqa64\t%zmm0, (%rax)",
        "movq\t%mm0, %rax", "kmovw\t%k1, %eax", "fldl\t(%rax)", "fstp\t%st(1)", "fninit", "emms",
        "ldmxcsr\t(%rsp)", "vzeroupper", "wait",
    ]) func refusesVectorAndX87Code(line: String) throws {
        #expect(try lint(line).map(\.rule) == [.vector])
    }

    @Test(arguments: ["xsaveopt64\t(%rdi)", "xrstor\t(%rdi)", "xsetbv", "fxsave64\t(%rdi)"])
    func allowsFPUStateInListedFunctionsOnly(line: String) throws {
        #expect(try lint(line).map(\.rule) == [.vector])
        #expect(try lint(line, allow: "fpu-state f -- it switches the FPU").isEmpty)
        #expect(try lint(line, "fld1", allow: "fpu-state f -- it switches the FPU").map(\.rule) == [.vector])
    }

    @Test(arguments: [
        ("wrmsr", "wrmsr"), ("movq\t%rax, %cr3", "mov-cr3"), ("movq\t%cr2, %rax", "mov-cr2"),
        ("movq\t%db7, %rax", "none"), ("movq\t%dr7, %rax", "mov-dr7"), ("movw\t%ax, %ds", "mov-ds"),
        ("popq\t%fs", "mov-fs"), ("invlpg\t(%rdi)", "invlpg"), ("invpcid\t(%rdi), %rax", "invpcid"),
        ("lgdtq\t(%rdi)", "lgdt"), ("lidtq\t(%rdi)", "lidt"), ("ltrw\t%ax", "ltr"), ("cli", "cli"),
        ("sti", "sti"), ("hlt", "hlt"), ("outb\t%al, $0xe9", "out"), ("inb\t%dx, %al", "in"),
        ("swapgs", "swapgs"), ("popfq", "popf"), ("stac", "stac"), ("int\t$0x80", "int"),
        ("rdmsr", "rdmsr"), ("wbinvd", "wbinvd"), ("wrgsbaseq\t%rax", "wrgsbase"),
    ]) func allowsSystemInstructionsWhereTheyAreListed(line: String, name: String) throws {
        guard name != "none" else { return }
        #expect(try lint(line).map(\.rule) == [.privileged])
        #expect(try lint(line, allow: "privileged \(name) f -- its job").isEmpty)
        #expect(try lint(line, allow: "privileged * f -- its job").isEmpty)
        let other = try lint(line, allow: "privileged? vmxon f -- another job")
        #expect(other.map(\.rule) == [.privileged])
    }

    @Test(arguments: ["iretq", "sysretq"]) func noticesReturnsToTheGuest(line: String) throws {
        #expect(try lint([Source("f", [line])]).map(\.rule) == [.privileged])
    }

    @Test(arguments: [
        "movq\t%fs, %rax", "movq\t%gs:0x10, %rax", "incl\t%eax", "outsider", "intel", "movabsq\t$1, %rax",
        "rep\t\tstosq\t%rax, %es:(%rdi)", "movsbl\t(%rdi), %eax", "pushfq", "popcntq\t%rax, %rax",
        "strange", "lock", "pause", "lfence", "bswapl\t%eax",
    ]) func ordinaryInstructionsPass(line: String) throws {
        #expect(try lint(line).filter { $0.rule != .frame }.isEmpty)
    }

    @Test func refusesIndirectBranchesOutsideListedFunctions() throws {
        for line in ["jmpq\t*0x10(,%rax,8)", "callq\t*%rax", "jmpq\t*%r11"] {
            #expect(try lint(line).map(\.rule) == [.indirectBranch])
            #expect(try lint(line, allow: "indirect f -- the way out").isEmpty)
        }
    }

    @Test func refusesJumpTablesEvenInListedFunctions() throws {
        let findings = try lint("notrack\t\tjmpq\t*%rax", allow: "indirect? f -- the way out")
        #expect(findings.map(\.rule) == [.indirectBranch])
        #expect(findings[0].problem.contains("jump table"))
    }

    @Test func refusesThreadLocalAccess() throws {
        #expect(try lint("movq\t%fs:0x28, %rax").map(\.rule) == [.threadLocal])
        #expect(try lint("movq\t%fs:0x28, %rax", allow: "thread-local f -- reads guest").isEmpty)
    }

    @Test func refusesBytesThatAreNoInstruction() throws {
        #expect(try lint("<unknown>").map(\.rule) == [.undecodable])
        #expect(try lint("<unknown>", allow: "data f -- a table").isEmpty)
    }

    @Test func namesFunctionAddressProblemAndRemedy() throws {
        let finding = try #require(try lint("nop", "wrmsr").first)
        #expect(
            finding.description
                == "f: 0xffff828000001004: [privileged instruction] `wrmsr` is not listed for this function;"
                + " move it to a function whose job it is, or list `privileged wrmsr` with the reason")
    }
}
