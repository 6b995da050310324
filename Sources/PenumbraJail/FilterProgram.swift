// SPDX-License-Identifier: Apache-2.0
import CJail

/// A condition on one of a system call's six arguments, as seccomp(2) sees them: 64 bits each, of which a
/// C int has the lower half.
enum ArgumentCondition: Equatable {
    case equals(Int, UInt64)
    case lowHalfEquals(Int, UInt32)
    /// None of these bits, of the lower half, is set.
    case lowHalfLacks(Int, UInt32)
}

/// What is allowed of one system call, or how it is refused.
struct SystemCallRule: Equatable {
    enum Answer: Equatable {
        /// If all conditions hold; what no rule of the same number allows ends the process.
        case allow(where: [ArgumentCondition])
        /// Not done, and nothing worse: for what the C library tries and does without.
        case refuse(errno: Int32)
    }

    let number: UInt32
    let answer: Answer

    static func allow(_ number: Int32, where conditions: ArgumentCondition...) -> Self {
        Self(number: UInt32(number), answer: .allow(where: conditions))
    }

    static func refuse(_ number: Int32, _ errno: Int32) -> Self {
        Self(number: UInt32(number), answer: .refuse(errno: errno))
    }
}

/// A filter for seccomp(2), in the instructions of the kernel's classic BPF. It looks at
///
///     struct seccomp_data { int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }
///
/// and asks one rule behind the other: first those of hot calls, then the rest as listed. What is no
/// x86-64 system call, and what has the x32 bit, kills; what no rule allows is a SIGSYS, by which the
/// process tells which call it was and ends.
struct FilterProgram {
    private enum Offset {
        static let number: UInt32 = 0
        static let architecture: UInt32 = 4
        static func lowHalf(_ argument: Int) -> UInt32 { UInt32(16 + 8 * argument) }
        static func highHalf(_ argument: Int) -> UInt32 { lowHalf(argument) + 4 }
    }

    /// linux/bpf_common.h
    private enum Code {
        static let loadWord = UInt16(BPF_LD | BPF_W | BPF_ABS)
        static let jumpIfEqual = UInt16(BPF_JMP | BPF_JEQ | BPF_K)
        static let jumpIfGreaterOrEqual = UInt16(BPF_JMP | BPF_JGE | BPF_K)
        static let jumpIfAnySet = UInt16(BPF_JMP | BPF_JSET | BPF_K)
        static let jump = UInt16(BPF_JMP | BPF_JA)
        static let result = UInt16(BPF_RET | BPF_K)
    }

    /// linux/seccomp.h: what a filter returns, and linux/audit.h: x86-64.
    private enum Result {
        static let killProcess: UInt32 = 0x8000_0000
        static let trap: UInt32 = 0x0003_0000
        static let refuse: UInt32 = 0x0005_0000
        static let allow: UInt32 = 0x7fff_0000
    }
    private static let x8664: UInt32 = 0xc000_003e
    private static let x32Bit: UInt32 = 0x4000_0000

    private(set) var instructions: [sock_filter] = []

    init(_ rules: [SystemCallRule]) {
        load(Offset.architecture)
        branch(Code.jumpIfEqual, Self.x8664, ifTrue: 1, ifFalse: 0)
        end(Result.killProcess)
        load(Offset.number)
        branch(Code.jumpIfGreaterOrEqual, Self.x32Bit, ifTrue: 0, ifFalse: 1)
        end(Result.killProcess)
        var seen: Set<UInt32> = []
        for rule in rules where seen.insert(rule.number).inserted {
            append(rules.filter { $0.number == rule.number })
        }
        end(Result.trap)
    }

    /// All rules of one number; behind them the next number's begin.
    private mutating func append(_ rules: [SystemCallRule]) {
        var block: [sock_filter] = []
        var isDecided = false
        for rule in rules where !isDecided {
            switch rule.answer {
            case .allow(let conditions):
                block += Self.alternative(conditions)
                isDecided = conditions.isEmpty
            case .refuse(let errno):
                block.append(Self.instruction(Code.result, Result.refuse | UInt32(errno)))
                isDecided = true
            }
        }
        if !isDecided { block.append(Self.instruction(Code.result, Result.trap)) }
        branch(Code.jumpIfEqual, rules[0].number, ifTrue: 1, ifFalse: 0)
        // A conditional jump reaches no further than 255 instructions, this one anywhere.
        instructions.append(Self.instruction(Code.jump, UInt32(block.count)))
        instructions += block
    }

    /// Allows if the conditions hold; else goes on behind itself.
    private static func alternative(_ conditions: [ArgumentCondition]) -> [sock_filter] {
        var code = [instruction(Code.result, Result.allow)]
        // Each test's distance to the end is the length of what follows it.
        for condition in conditions.reversed() { code = test(condition, before: code) + code }
        return code
    }

    private static func test(_ condition: ArgumentCondition, before rest: [sock_filter]) -> [sock_filter] {
        let skip = UInt8(rest.count)
        switch condition {
        case .equals(let argument, let value):
            let high = [
                instruction(Code.loadWord, Offset.highHalf(argument)),
                instruction(Code.jumpIfEqual, UInt32(value >> 32), ifFalse: skip),
            ]
            let low = UInt32(truncatingIfNeeded: value)
            return test(.lowHalfEquals(argument, low), before: high + rest) + high
        case .lowHalfEquals(let argument, let value):
            return [
                instruction(Code.loadWord, Offset.lowHalf(argument)),
                instruction(Code.jumpIfEqual, value, ifFalse: skip),
            ]
        case .lowHalfLacks(let argument, let bits):
            return [
                instruction(Code.loadWord, Offset.lowHalf(argument)),
                instruction(Code.jumpIfAnySet, bits, ifTrue: skip),
            ]
        }
    }

    private static func instruction(
        _ code: UInt16, _ value: UInt32, ifTrue: UInt8 = 0, ifFalse: UInt8 = 0
    ) -> sock_filter { sock_filter(code: code, jt: ifTrue, jf: ifFalse, k: value) }

    private mutating func load(_ offset: UInt32) {
        instructions.append(Self.instruction(Code.loadWord, offset))
    }

    private mutating func branch(_ code: UInt16, _ value: UInt32, ifTrue: UInt8, ifFalse: UInt8) {
        instructions.append(Self.instruction(code, value, ifTrue: ifTrue, ifFalse: ifFalse))
    }

    private mutating func end(_ result: UInt32) { instructions.append(Self.instruction(Code.result, result)) }
}
