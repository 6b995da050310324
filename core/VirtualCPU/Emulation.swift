// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Privileged instructions of a guest kernel. At CPL 3 they fault with #GP(0); those that a
// paravirtual kernel still executes are done here for it, all others stay faults. Guest
// user mode is never emulated: it gets the fault.

import CPenumbra

/// What a privileged instruction came to.
enum Emulated {
    /// Done: RIP moves past it.
    case done(length: UInt64)
    /// `hlt`: done once an event has come.
    case halt(length: UInt64)
    /// The guest gets the fault it had.
    case fault
}

/// Prefixes and opcode of one instruction, as far as the emulation looks.
struct DecodedInstruction {
    var opcode: UInt8 = 0
    var isTwoByte = false
    var length = 0
    var isOperand16 = false
    var rex: UInt8 = 0

    /// Skips legacy prefixes and REX (SDM vol. 2, 2.1.1 and 2.2.1); nil: too long.
    init?(_ bytes: InstructionBytes) {
        while length < 14 {
            let byte = bytes.byte(length)
            let isLegacy =
                byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3
                || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x26 || byte == 0x64
                || byte == 0x65
            if isLegacy {
                if byte == 0xf0 { return nil }  // no privileged instruction takes LOCK
                if byte == 0x66 { isOperand16 = true }
                rex = 0
            } else if byte & 0xf0 == 0x40 {
                rex = byte
            } else {
                break
            }
            length += 1
        }
        opcode = bytes.byte(length)
        length += 1
        if opcode == 0x0f {
            isTwoByte = true
            opcode = bytes.byte(length)
            length += 1
        }
        if length > 14 { return nil }
    }
}

extension VCPU {
    /// Reads the instruction at RIP; fewer than 15 bytes where the next page is absent.
    /// Kernel roots map what user mode sees too.
    func fetchInstruction(_ bytes: inout InstructionBytes) -> MemoryStatus {
        let address = GuestVirtual(frame.rip)
        guard isGuestAddress(address) else { return .notCanonical }
        let status = copyIn(&bytes, from: address, bytes: 15)
        guard case .guestFault = status else { return status }
        let inPage = UInt(4096 - address.pageOffset)
        return inPage < 15 ? copyIn(&bytes, from: address, bytes: inPage) : status
    }

    /// #GP of guest kernel mode with error code 0.
    func emulate<P: Personality>(_ bytes: InstructionBytes, for personality: P.Type) -> Emulated {
        guard let instruction = DecodedInstruction(bytes) else { return .fault }
        return instruction.isTwoByte
            ? emulateTwoByte(instruction, bytes, P.self) : emulateOneByte(instruction, bytes, P.self)
    }

    private func emulateOneByte<P: Personality>(
        _ instruction: DecodedInstruction, _ bytes: InstructionBytes, _ personality: P.Type
    ) -> Emulated {
        let length = UInt64(instruction.length)
        let opcode = instruction.opcode
        if opcode == 0xfa || opcode == 0xfb { return .done(length: length) }  // cli, sti
        if opcode == 0xf4 { return .halt(length: length) }
        if opcode & 0xf4 == 0xe4 {  // in, out
            let isImmediate = opcode & 8 == 0
            let port =
                isImmediate ? UInt16(bytes.byte(instruction.length)) : UInt16(truncatingIfNeeded: frame.rdx)
            if opcode & 2 == 0 { input(P.readPort(port), opcode: opcode, instruction.isOperand16) }
            return .done(length: length + (isImmediate ? 1 : 0))
        }
        return .fault
    }

    /// `in` replaces AL, AX, or EAX and with it the upper half of RAX.
    private func input(_ value: UInt64, opcode: UInt8, _ isOperand16: Bool) {
        let rax = frame.rax
        if opcode & 1 == 0 {
            frame.rax = rax & ~0xff | value & 0xff
        } else if isOperand16 {
            frame.rax = rax & ~0xffff | value & 0xffff
        } else {
            frame.rax = value & 0xffff_ffff
        }
    }

    private func emulateTwoByte<P: Personality>(
        _ instruction: DecodedInstruction, _ bytes: InstructionBytes, _ personality: P.Type
    ) -> Emulated {
        let length = UInt64(instruction.length)
        let operand = bytes.byte(instruction.length)
        let opcode = instruction.opcode
        if opcode == 0x09 || opcode == 0x06 { return .done(length: length) }  // wbinvd, clts
        if opcode == 0x30 { return writeModelRegister(P.self) ? .done(length: length) : .fault }
        if opcode == 0x32 { return readModelRegister(P.self) ? .done(length: length) : .fault }
        if opcode == 0x20 && operand & 0xc0 == 0xc0 {
            return readControlRegister(instruction, operand) ? .done(length: length + 1) : .fault
        }
        if opcode == 0x22 && operand & 0xc0 == 0xc0 {
            return writeControlRegister(instruction, operand) ? .done(length: length + 1) : .fault
        }
        if opcode == 0x01 && operand == 0xd1 {
            return setExtendedControl() ? .done(length: length + 1) : .fault
        }
        return .fault
    }

    // MARK: control registers

    /// Bits of CR4 that a guest kernel sees set (SDM vol. 3, 2.5): DE to FSGSBASE as it runs.
    private var visibleCR4: UInt64 {
        let hidden: UInt64 = 1 << 6 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 17 | 1 << 20 | 1 << 21
        return page.pointee.guest_cr4 & ~hidden
    }

    private func readControlRegister(_ instruction: DecodedInstruction, _ operand: UInt8) -> Bool {
        let register = operand >> 3 & 7 | (instruction.rex & 4) << 1
        let target = operand & 7 | (instruction.rex & 1) << 3
        switch register {
        case 0: setRegister(target, Processor.control0)
        case 2: setRegister(target, guestFaultAddress)
        case 4: setRegister(target, visibleCR4)
        default: return false
        }
        return true
    }

    /// CR0 and CR4 are what they are: a write that keeps them is harmless and ignored.
    private func writeControlRegister(_ instruction: DecodedInstruction, _ operand: UInt8) -> Bool {
        let register = operand >> 3 & 7 | (instruction.rex & 4) << 1
        return register == 0 || register == 4
    }

    /// XSETBV (SDM vol. 1, 13.3): x87 always; AVX needs SSE; AVX-512 all three and AVX; the
    /// two MPX components go together. Only what the module offers.
    private func setExtendedControl() -> Bool {
        guard frame.rcx & 0xffff_ffff == 0 else { return false }
        let value = frame.rdx << 32 | frame.rax & 0xffff_ffff
        let avx512: UInt64 = 0xe0
        guard value & 1 != 0, value & ~page.pointee.offered_xcr0 == 0,
            value & 4 == 0 || value & 2 != 0,
            value & avx512 == 0 || (value & avx512 == avx512 && value & 4 != 0),
            value & 0x18 == 0 || value & 0x18 == 0x18
        else { return false }
        page.pointee.xcr0 = value
        Processor.setExtendedControl(value)
        return true
    }

    // MARK: model-specific registers

    private func readModelRegister<P: Personality>(_ personality: P.Type) -> Bool {
        let register = UInt32(truncatingIfNeeded: frame.rcx)
        let value: UInt64
        switch register {
        case ModelRegister.timeStampCounter: value = Processor.timeStamp
        case ModelRegister.extendedFeatures: value = Processor.extendedFeatures
        case ModelRegister.fsBase: value = Processor.fsBase
        case ModelRegister.gsBase: value = Processor.gsBase
        case ModelRegister.kernelGSBase: value = page.pointee.gs_base_inactive
        default:
            guard let known = P.readModelRegister(self, register) else { return false }
            value = known
        }
        frame.rax = value & 0xffff_ffff
        frame.rdx = value >> 32
        return true
    }

    private func writeModelRegister<P: Personality>(_ personality: P.Type) -> Bool {
        let value = frame.rdx << 32 | frame.rax & 0xffff_ffff
        let register = UInt32(truncatingIfNeeded: frame.rcx)
        switch register {
        case ModelRegister.fsBase: return setSegmentBase(0, value)
        case ModelRegister.kernelGSBase: return setSegmentBase(1, value)
        case ModelRegister.gsBase: return setSegmentBase(2, value)
        case ModelRegister.extendedFeatures: return value == Processor.extendedFeatures
        default: return P.writeModelRegister(self, register, value)
        }
    }

    /// 0: FS base. 1: GS base of user mode. 2: GS base of kernel mode. Called in kernel mode.
    func setSegmentBase(_ which: UInt64, _ base: UInt64) -> Bool {
        guard GuestVirtual(base).isCanonical else { return false }
        switch which {
        case 0: Processor.fsBase = base
        case 1: page.pointee.gs_base_inactive = base
        case 2: Processor.gsBase = base
        default: return false
        }
        return true
    }

    /// The selector of GS in user mode, with the base that comes with it; one that could not be
    /// loaded becomes null. Called in kernel mode, whose own GS base stays. Between the look at a descriptor
    /// and the load another vCPU may change it, so the processor has the last word.
    func loadUserGS(_ selector: UInt64) {
        let isNull = selector & ~3 == 0
        let isLoadable = isNull || liveDescriptor(selector).map { $0.isReadable } ?? false
        let kernelBase = Processor.gsBase
        let wanted = UInt16(truncatingIfNeeded: isLoadable ? (isNull ? selector : selector | 3) : 0)
        let isLoaded = Processor.loadGS(wanted)
        // The null selector always loads.
        if !isLoaded { _ = Processor.loadGS(0) }
        page.pointee.gs_base_inactive = isLoaded && isLoadable && !isNull ? Processor.gsBase : 0
        Processor.gsBase = kernelBase
    }

    /// General register by its encoding (SDM vol. 2, table 2-2 and REX).
    func setRegister(_ number: UInt8, _ value: UInt64) {
        switch number {
        case 0: frame.rax = value
        case 1: frame.rcx = value
        case 2: frame.rdx = value
        case 3: frame.rbx = value
        case 4: frame.rsp = value
        case 5: frame.rbp = value
        case 6: frame.rsi = value
        case 7: frame.rdi = value
        case 8: frame.r8 = value
        case 9: frame.r9 = value
        case 10: frame.r10 = value
        case 11: frame.r11 = value
        case 12: frame.r12 = value
        case 13: frame.r13 = value
        case 14: frame.r14 = value
        default: frame.r15 = value
        }
    }

    func register(_ number: UInt8) -> UInt64 {
        switch number {
        case 0: frame.rax
        case 1: frame.rcx
        case 2: frame.rdx
        case 3: frame.rbx
        case 4: frame.rsp
        case 5: frame.rbp
        case 6: frame.rsi
        case 7: frame.rdi
        case 8: frame.r8
        case 9: frame.r9
        case 10: frame.r10
        case 11: frame.r11
        case 12: frame.r12
        case 13: frame.r13
        case 14: frame.r14
        default: frame.r15
        }
    }
}
