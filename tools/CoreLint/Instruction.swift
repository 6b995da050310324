// SPDX-License-Identifier: Apache-2.0

/// One line of an AT&T-syntax disassembly.
public struct Instruction: Equatable, Sendable {
    public let address: UInt64
    /// `lock`, `rep`, `notrack` ...; LLVM prints `lock` as a line of its own.
    public let prefixes: [String]
    public let mnemonic: String
    public let operands: String
    /// What the disassembler adds after `#`: the address, and symbol, of a RIP-relative operand.
    public let comment: String

    static let prefixNames: Set<String> = [
        "lock", "rep", "repe", "repne", "repz", "repnz", "notrack", "data16", "data32", "addr32", "rex64",
        "xacquire", "xrelease", "cs", "ds", "es", "ss",
    ]

    /// The text of one instruction, without its address; nil when there is none.
    init?(address: UInt64, text: Substring) {
        var words = text.split(whereSeparator: \.isWhitespace)[...]
        var prefixes: [String] = []
        while let word = words.first, Self.prefixNames.contains(String(word)) {
            prefixes.append(String(word))
            words.removeFirst()
        }
        guard let mnemonic = words.popFirst() else {
            // A prefix alone on its line counts as an instruction without effect.
            guard let last = prefixes.popLast() else { return nil }
            self.init(address: address, prefixes: prefixes, mnemonic: last, operands: "", comment: "")
            return
        }
        let operands = words.prefix { !$0.hasPrefix("#") }.joined(separator: " ")
        let comment = words.drop { !$0.hasPrefix("#") }.dropFirst().joined(separator: " ")
        self.init(
            address: address, prefixes: prefixes, mnemonic: String(mnemonic), operands: operands,
            comment: comment)
    }

    init(address: UInt64, prefixes: [String], mnemonic: String, operands: String, comment: String) {
        self.address = address
        self.prefixes = prefixes
        self.mnemonic = mnemonic
        self.operands = operands
        self.comment = comment
    }

    /// As a reader would write it.
    var text: String { (prefixes + [mnemonic, operands]).filter { !$0.isEmpty }.joined(separator: " ") }
}

// MARK: - Operands

extension Instruction {
    /// Operands split at the commas that stand outside parentheses; in AT&T order the last is written.
    var operandList: [String] {
        var list: [String] = []
        var current = ""
        var depth = 0
        for character in operands {
            if character == "," && depth == 0 {
                list.append(current.trimmingSpaces)
                current = ""
                continue
            }
            if character == "(" { depth += 1 }
            if character == ")" { depth -= 1 }
            current.append(character)
        }
        if !current.isEmpty { list.append(current.trimmingSpaces) }
        return list
    }

    /// Every register named in the operands, without the `%`.
    var registers: [Substring] {
        operands.split(separator: "%", omittingEmptySubsequences: false).dropFirst().map { tail in
            tail.prefix { $0.isLetter || $0.isNumber }
        }
    }

    /// The operand that the instruction writes, or jumps through.
    var destination: String { operandList.last ?? "" }

    /// The value of an immediate operand (`$0x10`, `$-4096`).
    var immediate: Int64? { operandList.first?.immediateValue }
}

// MARK: - Control flow

extension Instruction {
    var isCall: Bool { mnemonic == "call" || mnemonic == "callq" || mnemonic.hasPrefix("lcall") }
    var isJump: Bool { isUnconditionalJump || mnemonic.hasPrefix("j") || mnemonic.hasPrefix("loop") }
    var isUnconditionalJump: Bool {
        mnemonic == "jmp" || mnemonic == "jmpq" || mnemonic.hasPrefix("ljmp")
    }
    /// A call or jump whose target is in a register or in memory.
    var isIndirectBranch: Bool { (isCall || isJump) && operands.hasPrefix("*") }
    var isReturn: Bool {
        ["ret", "retq", "lret", "lretq", "iret", "iretq", "sysret", "sysretq", "sysretl", "sysexit"]
            .contains(mnemonic)
    }
    /// The next instruction is not reached from here.
    var endsFlow: Bool { isUnconditionalJump || isReturn || mnemonic == "ud2" || mnemonic == "int3" }

    /// What assemblers and linkers fill gaps with.
    var isPadding: Bool {
        mnemonic.hasPrefix("nop") || mnemonic == "int3" || text == "xchgw %ax, %ax"
    }

    /// Target of a direct call or jump.
    var branchTarget: UInt64? {
        guard isCall || isJump, !isIndirectBranch, let word = operands.split(separator: " ").first else {
            return nil
        }
        return UInt64(hexadecimal: word)
    }
}

// MARK: - Text helpers

extension String {
    var trimmingSpaces: String {
        var text = self[...]
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }

    /// The value of `$42`, `$0x2a`, `$-42` or `$-0x2a`.
    var immediateValue: Int64? { hasPrefix("$") ? Int64(signedLiteral: dropFirst()) : nil }
}

extension UInt64 {
    init?(hexadecimal text: Substring) {
        self.init(text.hasPrefix("0x") ? text.dropFirst(2) : text, radix: 16)
    }
}

extension Int64 {
    /// Reads `-0x10`, `0x10`, `16`, and 64-bit patterns above `Int64.max`.
    init?(signedLiteral text: Substring) {
        let negative = text.hasPrefix("-")
        let digits = negative ? text.dropFirst() : text
        let isHexadecimal = digits.hasPrefix("0x")
        let body = isHexadecimal ? digits.dropFirst(2) : digits
        guard let magnitude = UInt64(body, radix: isHexadecimal ? 16 : 10) else { return nil }
        let value = Int64(bitPattern: magnitude)
        self = negative ? 0 &- value : value
    }
}
