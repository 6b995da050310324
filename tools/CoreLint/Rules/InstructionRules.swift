// SPDX-License-Identifier: Apache-2.0

/// Rules that look at one instruction at a time.
enum InstructionRules {
    static func check(_ function: Function, _ ledger: inout Ledger) {
        for instruction in function.instructions {
            checkVector(instruction, function, &ledger)
            checkSystem(instruction, function, &ledger)
            checkIndirectBranch(instruction, function, &ledger)
            checkThreadLocal(instruction, function, &ledger)
            checkDecodable(instruction, function, &ledger)
        }
    }

    /// The registers hold the guest's state while the core runs.
    private static func checkVector(
        _ instruction: Instruction, _ function: Function, _ ledger: inout Ledger
    ) {
        if instruction.managesFPUState {
            guard !ledger.excuses(.fpuState, function) else { return }
            ledger.report(
                Finding(
                    .vector, in: function, at: instruction.address,
                    "`\(instruction.text)` touches the FPU state outside the listed functions",
                    remedy: "leave it to the listed functions, or list it as `fpu-state`"))
        } else if let what = instruction.vectorUse {
            ledger.report(
                Finding(
                    .vector, in: function, at: instruction.address, "`\(instruction.text)` uses \(what)",
                    remedy: "use integers; floating point and vector types are the guest's in here"))
        }
    }

    private static func checkSystem(
        _ instruction: Instruction, _ function: Function, _ ledger: inout Ledger
    ) {
        guard let name = instruction.systemName, !ledger.excuses(.privileged, function, word: name) else {
            return
        }
        ledger.report(
            Finding(
                .privileged, in: function, at: instruction.address,
                "`\(instruction.text)` is not listed for this function",
                remedy: "move it to a function whose job it is, or list `privileged \(name)` with the reason")
        )
    }

    /// Every branch through a register is a place to mistrain (Spectre v2), and a switch that
    /// became a jump table makes one silently.
    private static func checkIndirectBranch(
        _ instruction: Instruction, _ function: Function, _ ledger: inout Ledger
    ) {
        if instruction.prefixes.contains("notrack") {
            ledger.report(
                Finding(
                    .indirectBranch, in: function, at: instruction.address,
                    "`\(instruction.text)` is a jump table's branch",
                    remedy: "build without jump tables (-min-jump-table-entries, -fno-jump-tables)"))
        } else if instruction.isIndirectBranch, !ledger.excuses(.indirect, function) {
            ledger.report(
                Finding(
                    .indirectBranch, in: function, at: instruction.address,
                    "`\(instruction.text)` bypasses the retpoline thunks",
                    remedy: "build with retpolines and without jump tables, or list the site as `indirect`"))
        }
    }

    /// %fs is the guest's: thread-local storage and the stack protector would read its memory.
    private static func checkThreadLocal(
        _ instruction: Instruction, _ function: Function, _ ledger: inout Ledger
    ) {
        guard instruction.operands.contains("%fs:"), !ledger.excuses(.threadLocal, function) else { return }
        ledger.report(
            Finding(
                .threadLocal, in: function, at: instruction.address,
                "`\(instruction.text)` goes through the guest's %fs",
                remedy: "disable the stack protector and use no thread-local storage"))
    }

    private static func checkDecodable(
        _ instruction: Instruction, _ function: Function, _ ledger: inout Ledger
    ) {
        let isUnknown = instruction.mnemonic == "<unknown>" || instruction.mnemonic == "(bad)"
        guard isUnknown else { return }
        ledger.report(
            Finding(
                .undecodable, in: function, at: instruction.address, "bytes that are no instruction",
                remedy: "keep data in .rodata, or list the symbol as `data`"))
    }
}

// MARK: - What kind of instruction it is

extension Instruction {
    private static let fpuStatePrefixes = ["xsave", "xrstor", "fxsave", "fxrstor"]

    /// The xsave family: it moves the guest's FPU state as a whole.
    var managesFPUState: Bool {
        mnemonic == "xsetbv" || mnemonic == "xgetbv"
            || Self.fpuStatePrefixes.contains { mnemonic.hasPrefix($0) }
    }

    /// What FPU, MMX, SSE or AVX state an instruction uses, if any.
    var vectorUse: String? {
        if let register = registers.first(where: Self.isVectorRegister) { return "%\(register)" }
        // All mnemonics with an f are x87's (Intel SDM vol. 2A, "F" chapter), bar fxsave's family.
        if mnemonic.hasPrefix("f") || mnemonic == "wait" { return "the x87 state" }
        let others: Set<String> = [
            "emms", "ldmxcsr", "stmxcsr", "vldmxcsr", "vstmxcsr", "vzeroupper", "vzeroall", "ldtilecfg",
            "sttilecfg", "tilerelease",
        ]
        return others.contains(mnemonic) ? "the vector state" : nil
    }

    private static func isVectorRegister(_ name: Substring) -> Bool {
        if ["xmm", "ymm", "zmm", "tmm", "bnd"].contains(where: { name.hasPrefix($0) }) { return true }
        if name == "st" { return true }
        let digits = name.drop { $0.isLetter }
        let letters = name.prefix { $0.isLetter }
        return !digits.isEmpty && (letters == "mm" || letters == "k" || letters == "st")
    }

    /// Instructions that are privileged, change what privilege means, or change the segments,
    /// by the name that the allow file uses; nil for ordinary ones.
    var systemName: String? {
        if mnemonic.hasPrefix("mov") || mnemonic.hasPrefix("pop"),
            let register = systemRegisterOperand
        {
            return "mov-\(register)"
        }
        if Self.systemMnemonics.contains(mnemonic) { return mnemonic }
        let base = String(mnemonic.dropLast())
        let isSuffixed = mnemonic.last.map { "bwlq".contains($0) } ?? false
        return isSuffixed && Self.systemMnemonics.contains(base) ? base : nil
    }

    /// A control or debug register anywhere, a segment register that is written.
    private var systemRegisterOperand: Substring? {
        let control = registers.first { name in
            let digits = name.dropFirst(2)
            return (name.hasPrefix("cr") || name.hasPrefix("dr")) && !digits.isEmpty
                && digits.allSatisfy(\.isNumber)
        }
        if let control { return control }
        let segments: Set<String> = ["%ds", "%es", "%fs", "%gs", "%ss", "%cs"]
        return segments.contains(destination) ? destination.dropFirst() : nil
    }

    private static let systemMnemonics: Set<String> = [
        "wrmsr", "wrmsrns", "wrmsrlist", "rdmsr", "rdmsrlist", "rdpmc", "invlpg", "invpcid", "invd", "wbinvd",
        "wbnoinvd", "lgdt", "lidt", "lldt", "ltr", "lmsw", "sgdt", "sidt", "sldt", "str", "smsw", "clts",
        "hlt", "cli", "sti", "popf", "in", "out", "ins", "insb", "insw", "insl", "outs", "outsb", "outsw",
        "outsl", "swapgs", "lkgs", "wrfsbase", "wrgsbase", "wrpkru", "stac", "clac", "iret", "lret", "sysret",
        "sysexit", "syscall", "sysenter", "int", "monitor", "mwait", "ljmp", "lcall", "vmcall", "vmmcall",
        "setssbsy", "wrssq", "erets", "eretu", "rsm", "pconfig", "encls", "getsec",
    ]
}
