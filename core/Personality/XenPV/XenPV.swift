// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The Xen PV personality: what unmodified Linux kernels speak when they run without
// privileges. Machine frame numbers equal the guest's own (docs/xen-pv.md), so that the
// guest's page-table entries are walked as they are.
//
//   ABI.swift            numbers, arguments, answers
//   XenPV.swift          dispatch, and the seam
//   Tables.swift         mmu_update, update_va_mapping, mmuext_op
//   Multicall.swift      many calls in one
//   Descriptors.swift    traps, callbacks, stacks, segments, debug registers
//   Events.swift         event channels, two-level
//   Scheduling.swift     sched_op, timers
//   VirtualCPUs.swift    vcpu_op
//   Startup.swift        what a vCPU is to start with
//   RunState.swift       how a vCPU's time went by
//   Domain.swift         version, memory, console, grants
//   Identification.swift what CPUID and model registers show
//
// Every call ends in one way (`end`): a value in RAX, or progress in its argument registers
// and a return onto its `syscall` instruction. Xen's own continuations do the same.

import CPenumbra

enum XenPV: Personality {
    static var memoryPolicy: MemoryPolicy { .tablesWritableThroughReadOnly.union(.prefillUpdates) }

    @inline(__always)
    static func hypercall(_ vcpu: VCPU) -> Continuation {
        let number = vcpu.frame.rax
        if number == Hypercall.mmuUpdate { return updateTables(vcpu) }
        if number == Hypercall.iret { return vcpu.returnFromHandler() }
        return call(vcpu, number)
    }

    /// A function of its own, so that the entry of all calls stays short.
    @inline(never)
    private static func updateTables(_ vcpu: VCPU) -> Continuation {
        updateOne(vcpu) ? vcpu.finishWithEvents() : call(vcpu, Hypercall.mmuUpdate)
    }

    /// The compiler makes a chain of comparisons of a switch: the hot ones come first.
    @inline(never)
    private static func call(_ vcpu: VCPU, _ number: UInt64) -> Continuation {
        var arguments = vcpu.arguments
        if number == Hypercall.multicall { return multicall(vcpu, arguments) }
        if number == Hypercall.scheduler { return schedule(vcpu, arguments) }
        if number == Hypercall.console { return writeConsole(vcpu, arguments) }
        return end(operate(vcpu, number, &arguments), vcpu, arguments)
    }

    /// Whatever may also stand in a multicall.
    @inline(__always)
    static func operate(_ vcpu: VCPU, _ number: UInt64, _ arguments: inout CallArguments) -> Answer {
        if number == Hypercall.updateAddress { return updateAddress(vcpu, arguments) }
        if number == Hypercall.mmuUpdate { return updateTables(vcpu, &arguments) }
        if number == Hypercall.mmuExtended { return extendedOperations(vcpu, &arguments) }
        if number == Hypercall.stackSwitch { return .value(switchStack(vcpu, arguments)) }
        if number == Hypercall.setSegmentBase { return .value(setSegmentBase(vcpu, arguments)) }
        return operateColder(vcpu, number, &arguments)
    }

    @inline(never)
    private static func operateColder(
        _ vcpu: VCPU, _ number: UInt64, _ arguments: inout CallArguments
    ) -> Answer {
        switch number {
        case Hypercall.version: version(vcpu, arguments)
        case Hypercall.eventChannel: eventChannel(vcpu, arguments)
        case Hypercall.vcpu: vcpuOperation(vcpu, arguments)
        case Hypercall.updateDescriptor: updateDescriptor(vcpu, arguments)
        case Hypercall.fpuTaskSwitch: .value(arguments.first == 0 ? 0 : XenError.notSupported)
        case Hypercall.setTimer: setTimer(vcpu, at: arguments.first == 0 ? VCPU.never : arguments.first)
        case Hypercall.memoryOperation: memoryOperation(vcpu, &arguments)
        default: operateRarely(vcpu, number, arguments)
        }
    }

    @inline(never)
    private static func operateRarely(
        _ vcpu: VCPU, _ number: UInt64, _ arguments: CallArguments
    ) -> Answer {
        switch number {
        case Hypercall.setTrapTable: setTrapTable(vcpu, arguments)
        case Hypercall.setGDT: setGDT(vcpu, arguments)
        case Hypercall.setDebugRegister: setDebugRegister(vcpu, arguments)
        case Hypercall.getDebugRegister: .value(debugRegister(vcpu, arguments))
        case Hypercall.grantTable: grantTable(vcpu, arguments)
        case Hypercall.assist: .value(assist(arguments))
        case Hypercall.callback: callback(vcpu, arguments)
        case Hypercall.physicalDevice: .value(physicalDevice(arguments))
        default: .value(XenError.unknown)
        }
    }

    // MARK: - How a call ends

    /// A direct call: RAX and on, or what is left goes back into the argument registers and
    /// the guest's `syscall` is executed again.
    @inline(__always)
    static func end(_ answer: Answer, _ vcpu: VCPU, _ rest: CallArguments) -> Continuation {
        if case .value(let value) = answer {
            vcpu.frame.rax = value
            return vcpu.finishWithEvents()
        }
        return endOtherwise(answer, vcpu, rest)
    }

    @inline(never)
    private static func endOtherwise(_ answer: Answer, _ vcpu: VCPU, _ rest: CallArguments) -> Continuation {
        switch answer {
        case .value(let value):
            vcpu.frame.rax = value
            return vcpu.finishWithEvents()
        case .needs(let status):
            vcpu.arguments = rest
            return vcpu.leave(for: status, redo: .call)
        case .slice:
            vcpu.arguments = rest
            vcpu.frame.rip &-= 2
            return vcpu.leave(PENUMBRA_EXIT_SLICE)
        case .leave(let value, let reason, let argument):
            vcpu.frame.rax = value
            return leaveAfterCall(vcpu, reason, argument)
        }
    }

    /// An exit at the end of a call. What the guest unmasked before is looked at on return.
    static func leaveAfterCall(_ vcpu: VCPU, _ reason: Int32, _ argument: UInt64 = 0) -> Continuation {
        vcpu.raiseAttention(PENUMBRA_ATTENTION_EVENT)
        return vcpu.leave(reason, argument)
    }

    // MARK: - The seam

    /// Before the first roots: the pages that the core writes to are its own from now on.
    static func prepareStart(_ vcpu: VCPU) -> MemoryStatus {
        let shared = GuestFrame(xenpv_shared_info_frame(vmPage.pointee.ram_frames))
        let claimed = vcpu.memory.claimForCore(shared)
        guard case .done = claimed else { return claimed }
        return prepareRoot(vcpu, vcpu.page.pointee.start.root_frame)
    }

    static func started(_ vcpu: VCPU) {
        // Debug registers as after a reset.
        vcpu.setDebugRegister(6, 0xffff_0ff0)
        vcpu.setDebugRegister(7, 0x400)
        guard vcpu.id == 0 else { return }
        Shared.publishWallClock()
        EventPorts.begin()
        var id: UInt64 = 1
        while let other = vcpu.other(id) {
            other.placeInfo()
            id += 1
        }
    }

    static func drainPosted(_ vcpu: VCPU) -> UInt64 {
        var others: UInt64 = 0
        var word: UInt64 = 0
        while word < UInt64(PENUMBRA_MAX_PORTS) / 64 {
            var mine = Ports.takePosted(for: vcpu.id, word: word)
            while mine != 0 {
                others |= raise(word << 6 | UInt64(mine.trailingZeroBitCount), on: vcpu, by: vcpu)
                mine &= mine &- 1
            }
            word += 1
        }
        return others
    }

    static func timerExpired(_ vcpu: VCPU) -> UInt64 {
        let port = vcpu.interruptPort(VirtualInterrupt.timer)
        return port == 0 ? 0 : raise(UInt64(port), on: vcpu, by: vcpu)
    }

    /// The guest's text is out: how much of it the VMM took decides nothing.
    static func answered(_ vcpu: VCPU, _ result: UInt64) {
        vcpu.frame.rax = 0
    }

    /// Xen's forced emulation: `ud2; .ascii "xen"` before an instruction, of which CPUID alone
    /// is defined.
    static func exception(_ vcpu: VCPU, vector: UInt64, error: UInt64) -> Continuation? {
        guard vector == Vector.invalidOpcode else { return nil }
        var bytes = InstructionBytes()
        switch vcpu.fetchInstruction(&bytes) {
        case .done: break
        case .guestFault, .notCanonical, .refused: return nil
        case let status: return vcpu.leave(for: status, redo: .instruction)
        }
        // 0f 0b 78 65 6e 0f a2
        guard bytes.low & 0x00ff_ffff_ffff_ffff == 0x00a2_0f6e_6578_0b0f else { return nil }
        identify(vcpu)
        vcpu.count(PENUMBRA_COUNTER_emulations)
        vcpu.frame.rip &+= 7
        return vcpu.finish()
    }
}

extension VCPU {
    /// RDI, RSI, RDX, R10, R8 (public/arch-x86/xen-x86_64.h).
    var arguments: CallArguments {
        @inline(__always) get {
            CallArguments(
                first: frame.rdi, second: frame.rsi, third: frame.rdx, fourth: frame.r10, fifth: frame.r8)
        }
        nonmutating set {
            frame.rdi = newValue.first
            frame.rsi = newValue.second
            frame.rdx = newValue.third
            frame.r10 = newValue.fourth
            frame.r8 = newValue.fifth
        }
    }
}
