// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What a vCPU is to start with: VCPUOP_initialise and its record, vcpu_guest_context (public/arch-x86/
// xen.h, 5168 bytes). The record is read in pieces, each once, and checked as hostile before anything
// is made of it; its pieces need not be of one moment. The vCPU is claimed meanwhile, so that it
// neither starts nor gets another's record.
//
// A vCPU starts in guest kernel mode, with flat segments, events masked, and the rest of its state as
// after a reset: of the record's flags, selectors, control and debug registers and its FPU only what
// says otherwise is refused.

import CPenumbra

/// Where the record's parts are, in bytes.
private enum ContextOffset {
    static var flags: UInt64 { 0x200 }
    static var registers: UInt64 { 0x208 }
    static var traps: UInt64 { 0x2d0 }
    static var tables: UInt64 { 0x12d0 }
    static var kernel: UInt64 { 0x1360 }
    static var callbacks: UInt64 { 0x13f8 }
}

/// VGCF_in_kernel.
private var startsInKernel: UInt64 { 1 << 2 }

/// cpu_user_regs, up to the stack's selector.
private struct ContextRegisters {
    var r15: UInt64 = 0
    var r14: UInt64 = 0
    var r13: UInt64 = 0
    var r12: UInt64 = 0
    var rbp: UInt64 = 0
    var rbx: UInt64 = 0
    var r11: UInt64 = 0
    var r10: UInt64 = 0
    var r9: UInt64 = 0
    var r8: UInt64 = 0
    var rax: UInt64 = 0
    var rcx: UInt64 = 0
    var rdx: UInt64 = 0
    var rsi: UInt64 = 0
    var rdi: UInt64 = 0
    var error: UInt64 = 0
    var rip: UInt64 = 0
    var cs: UInt64 = 0
    var rflags: UInt64 = 0
    var rsp: UInt64 = 0
}

/// The LDT, and the GDT's first frame.
private struct ContextTables {
    var localAddress: UInt64 = 0
    var localCount: UInt64 = 0
    var firstFrame: UInt64 = 0
}

/// From the GDT's count to the kernel's root and, two words on, the user's.
private struct ContextKernel {
    var globalCount: UInt64 = 0
    var stackSelector: UInt64 = 0
    var stack: UInt64 = 0
    var control0: UInt64 = 0
    var userRoot: UInt64 = 0
    var control2: UInt64 = 0
    var kernelRoot: UInt64 = 0
}

/// Callbacks and bases: the record's end.
private struct ContextCallbacks {
    var event: UInt64 = 0
    var failsafe: UInt64 = 0
    var systemCall: UInt64 = 0
    var assist: UInt64 = 0
    var fsBase: UInt64 = 0
    var kernelGSBase: UInt64 = 0
    var userGSBase: UInt64 = 0
}

/// trap_info.
private struct ContextTraps {
    var words = InlineArray<32, UInt64>(repeating: 0)
    static var count: UInt64 { 16 }
}

extension XenPV {
    /// The vCPU gets what it starts with, once in its life.
    static func initialise(_ target: VCPU, from record: GuestVirtual, by vcpu: VCPU) -> Answer {
        guard target.state.pointee.info != 0 else { return .value(XenError.invalid) }
        guard target.advance(from: .blank, to: .claimed) else {
            return target.stage == .claimed ? .slice : .value(XenError.exists)
        }
        let answer = Answer(read(record, for: target, by: vcpu))
        if case .value(0) = answer { target.settle(as: .ready) } else { target.settle(as: .blank) }
        return answer
    }

    private static func read(_ record: GuestVirtual, for target: VCPU, by vcpu: VCPU) -> MemoryStatus {
        var status = readTables(record, for: target, by: vcpu)
        if case .done = status { status = readTraps(record, for: target, by: vcpu) }
        if case .done = status { status = readCallbacks(record, for: target, by: vcpu) }
        if case .done = status { status = readRegisters(record, for: target, by: vcpu) }
        return status
    }

    private static func place(_ record: GuestVirtual, _ offset: UInt64) -> GuestVirtual {
        GuestVirtual(record.value &+ offset)
    }

    /// Roots are looked at here, so that a wrong one is this call's error; the vCPU loads them when
    /// it starts, and one that has become none until then ends the VM.
    @inline(never)
    private static func readTables(_ record: GuestVirtual, for target: VCPU, by vcpu: VCPU) -> MemoryStatus {
        var tables = ContextTables()
        var kernel = ContextKernel()
        var status = vcpu.copyIn(&tables, from: place(record, ContextOffset.tables))
        if case .done = status { status = vcpu.copyIn(&kernel, from: place(record, ContextOffset.kernel)) }
        guard case .done = status else { return status }
        let (root, userRoot) = (kernel.kernelRoot >> 12, kernel.userRoot >> 12)
        guard tables.localCount == 0, vcpu.isGuestAddress(GuestVirtual(kernel.stack)) else { return .refused }
        status = vcpu.memory.checkRoot(root)
        if case .done = status, userRoot != 0 { status = vcpu.memory.checkRoot(userRoot) }
        guard case .done = status else { return status }
        status = loadGDT(target, tables.firstFrame, kernel.globalCount, by: vcpu)
        guard case .done = status else { return status }
        target.state.pointee.kernelStack = kernel.stack
        target.page.pointee.start.root_frame = root
        target.page.pointee.start.info_address = target.state.pointee.infoAddress
        target.state.pointee.initial.userRoot = userRoot
        return .done
    }

    /// A handler in the hole is refused, as in set_trap_table.
    @inline(never)
    private static func readTraps(_ record: GuestVirtual, for target: VCPU, by vcpu: VCPU) -> MemoryStatus {
        var first: UInt64 = 0
        while first < 256 {
            var block = ContextTraps()
            let status = vcpu.copyIn(&block, from: place(record, ContextOffset.traps + first * 16))
            guard case .done = status else { return status }
            var index: UInt64 = 0
            while index < ContextTraps.count {
                let gate = Gate(
                    address: block.words[Int(index * 2 + 1)], flags: block.words[Int(index * 2)] >> 8 & 7)
                guard vcpu.isGuestAddress(GuestVirtual(gate.address)) else { return .refused }
                target.setGate(first + index, gate)
                index += 1
            }
            first += ContextTraps.count
        }
        return .done
    }

    @inline(never)
    private static func readCallbacks(
        _ record: GuestVirtual, for target: VCPU, by vcpu: VCPU
    ) -> MemoryStatus {
        var callbacks = ContextCallbacks()
        let status = vcpu.copyIn(&callbacks, from: place(record, ContextOffset.callbacks))
        guard case .done = status else { return status }
        let isSound =
            vcpu.isGuestAddress(GuestVirtual(callbacks.event))
            && vcpu.isGuestAddress(GuestVirtual(callbacks.failsafe))
            && vcpu.isGuestAddress(GuestVirtual(callbacks.systemCall))
            && GuestVirtual(callbacks.fsBase).isCanonical && GuestVirtual(callbacks.kernelGSBase).isCanonical
            && GuestVirtual(callbacks.userGSBase).isCanonical
        guard isSound else { return .refused }
        let state = target.state
        state.pointee.eventCallback = callbacks.event
        state.pointee.failsafeCallback = callbacks.failsafe
        state.pointee.syscallCallback = callbacks.systemCall
        state.pointee.initial.fsBase = callbacks.fsBase
        state.pointee.initial.gsBase = callbacks.kernelGSBase
        state.pointee.initial.inactiveGSBase = callbacks.userGSBase
        return .done
    }

    @inline(never)
    private static func readRegisters(
        _ record: GuestVirtual, for target: VCPU, by vcpu: VCPU
    ) -> MemoryStatus {
        var flags: UInt64 = 0
        var registers = ContextRegisters()
        var status = vcpu.copyIn(&flags, from: place(record, ContextOffset.flags))
        if case .done = status {
            status = vcpu.copyIn(&registers, from: place(record, ContextOffset.registers))
        }
        guard case .done = status else { return status }
        guard flags & startsInKernel != 0, vcpu.isGuestAddress(GuestVirtual(registers.rip)) else {
            return .refused
        }
        setRegisters(registers, of: target)
        return .done
    }

    private static func setRegisters(_ registers: ContextRegisters, of target: VCPU) {
        let page = target.page
        page.pointee.start.rip = registers.rip
        page.pointee.start.rsp = registers.rsp
        page.pointee.start.rsi = registers.rsi
        page.pointee.start.rdi = registers.rdi
        let state = target.state
        state.pointee.initial.rax = registers.rax
        state.pointee.initial.rbx = registers.rbx
        state.pointee.initial.rcx = registers.rcx
        state.pointee.initial.rdx = registers.rdx
        state.pointee.initial.rbp = registers.rbp
        state.pointee.initial.r8 = registers.r8
        state.pointee.initial.r9 = registers.r9
        state.pointee.initial.r10 = registers.r10
        state.pointee.initial.r11 = registers.r11
        state.pointee.initial.r12 = registers.r12
        state.pointee.initial.r13 = registers.r13
        state.pointee.initial.r14 = registers.r14
        state.pointee.initial.r15 = registers.r15
        state.pointee.initial.rflags = registers.rflags
        state.pointee.awaitsStart = true
    }
}
