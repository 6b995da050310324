// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import CoreLint

@Suite struct DisassemblyTests {
    @Test func readsFunctionsSectionsAndInstructions() throws {
        let text = """

            t.elf:	file format elf64-x86-64

            Disassembly of section .text:

            ffff828000001138 <sum>:
            ffff828000001138:      	subq	$800, %rsp      # imm = 0x320
            ffff82800000115d:      	rep		movsb	(%rsi), %es:(%rdi)
            ffff828000001175:      	jne	0xffff82800000115d <sum+0x25>

            Disassembly of section .entry.text:

            ffff8280000011f0 <gate>:
            ffff8280000011f9:      	lock
            ffff8280000011fa:      	cmpxchgq	%rax, (%rdi)
            ffff828000001201:      	movq	-0x10d8(%rip), %rax # 0xffff828000000130 <tab+0x8>
            """
        let functions = Disassembly(parsing: text).functions
        #expect(functions.map(\.symbol) == ["sum", "gate"])
        #expect(functions.map(\.section) == [".text", ".entry.text"])
        let sum = functions[0].instructions
        #expect(sum.map(\.mnemonic) == ["subq", "movsb", "jne"])
        #expect(sum[0].immediate == 800)
        #expect(sum[1].prefixes == ["rep"])
        #expect(sum[2].branchTarget == 0xffff_8280_0000_115d)
        let gate = functions[1].instructions
        #expect(gate.map(\.mnemonic) == ["lock", "cmpxchgq", "movq"])
        #expect(gate[2].comment == "0xffff828000000130 <tab+0x8>")
    }

    @Test(arguments: [
        ("$42", 42), ("$0x2a", 42), ("$-42", -42), ("$-0x2a", -42),
        ("$-0x7d8000000000", Int64(bitPattern: 0xffff_8280_0000_0000)),
        ("$0xffff828000000000", Int64(bitPattern: 0xffff_8280_0000_0000)),
    ]) func readsImmediates(text: String, value: Int64) {
        #expect(text.immediateValue == value)
    }

    @Test func splitsOperandsOutsideParenthesesOnly() throws {
        let instruction = try #require(
            Instruction(address: 0, text: "movq\t%rbx, -0x338(%rbp,%rax,8)"))
        #expect(instruction.operandList == ["%rbx", "-0x338(%rbp,%rax,8)"])
        #expect(instruction.registers == ["rbx", "rbp", "rax"])
    }

    @Test func findsTheFunctionThatHoldsAnAddress() {
        let code = disassembly([Source("a", ["nop", "retq"]), Source("b", ["retq"])])
        #expect(code.functionIndex(containing: 0xffff_8280_0000_1004) == 0)
        #expect(code.functionIndex(containing: 0xffff_8280_0000_1008) == 1)
        #expect(code.functionIndex(containing: 0xffff_8280_0000_100c) == nil)
        #expect(code.functionIndex(containing: 0) == nil)
    }
}
