// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What a kernel otherwise tells the processor by LIDT, LGDT, LLDT and MSRs: handlers, stacks,
// segments, debug registers. The processor never sees a guest's descriptor: GDT and LDT are
// private copies, sanitised, made when the guest names its tables and when it asks for an
// entry to be changed.

import CPenumbra

/// One entry of set_trap_table (public/arch-x86/xen.h, struct trap_info).
private struct TrapEntry {
    /// Bits 7:0 vector, 15:8 flags (DPL, and bit 2: mask events), 31:16 selector.
    var head: UInt64 = 0
    var address: UInt64 = 0

    static var size: UInt64 { 16 }
    var vector: UInt64 { head & 0xff }
    var flags: UInt64 { head >> 8 & 7 }
}

/// struct callback_register: bits 15:0 type, 31:16 flags, then the address.
private struct CallbackEntry {
    var head: UInt64 = 0
    var address: UInt64 = 0

    var type: UInt64 { head & 0xffff }
}

private enum CallbackType {
    static var event: UInt64 { 0 }
    static var failsafe: UInt64 { 1 }
    static var systemCall: UInt64 { 2 }
    static var systemCall32: UInt64 { 7 }
}

/// Descriptors that are copied at a time.
private struct DescriptorBlock {
    var words = InlineArray<32, UInt64>(repeating: 0)
    static var count: UInt64 { 32 }
}

extension XenPV {
    // MARK: - Handlers

    /// (entries), ended by one whose address is 0; NULL clears all. A handler in the hole would
    /// be the core's own code: it stays what it was.
    static func setTrapTable(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        guard arguments.first != 0 else { return clearTraps(vcpu) }
        var address = arguments.first
        for _ in 0..<257 as Range<Int> {
            var entry = TrapEntry()
            let read = vcpu.copyIn(&entry, from: GuestVirtual(address))
            guard case .done = read else { return Answer(read) }
            if entry.address == 0 { return .value(0) }
            guard vcpu.isGuestAddress(GuestVirtual(entry.address)) else { return .value(XenError.invalid) }
            vcpu.setGate(entry.vector, Gate(address: entry.address, flags: entry.flags))
            address &+= TrapEntry.size
        }
        return .value(XenError.invalid)
    }

    private static func clearTraps(_ vcpu: VCPU) -> Answer {
        for vector in 0..<256 as Range<UInt64> { vcpu.setGate(vector, Gate(address: 0, flags: 0)) }
        return .value(0)
    }

    /// (command, record): 0 registers, 1 takes back.
    static func callback(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        var entry = CallbackEntry()
        guard arguments.first <= 1 else { return .value(XenError.unknown) }
        let isRegistered = arguments.first == 0
        let read = vcpu.copyIn(&entry, from: GuestVirtual(arguments.second), bytes: isRegistered ? 16 : 2)
        guard case .done = read else { return Answer(read) }
        let address = isRegistered ? entry.address : 0
        guard address == 0 || vcpu.isGuestAddress(GuestVirtual(address)) else {
            return .value(XenError.invalid)
        }
        switch entry.type {
        case CallbackType.event: vcpu.state.pointee.eventCallback = address
        case CallbackType.failsafe: vcpu.state.pointee.failsafeCallback = address
        case CallbackType.systemCall: vcpu.state.pointee.syscallCallback = address
        case CallbackType.systemCall32: vcpu.state.pointee.syscall32Callback = address
        default: return .value(XenError.unknown)
        }
        vcpu.refreshFastPaths()
        return .value(0)
    }

    /// (selector, stack): where frames go that interrupt user mode. The selector is always ours.
    @inline(__always)
    static func switchStack(_ vcpu: VCPU, _ arguments: CallArguments) -> UInt64 {
        let stack = GuestVirtual(arguments.second)
        guard vcpu.isGuestAddress(stack) else { return XenError.invalid }
        vcpu.state.pointee.kernelStack = stack.value
        vcpu.refreshFastPaths()
        return 0
    }

    // MARK: - Segments

    /// (which, value): bases of FS, of GS in user mode, of GS in kernel mode; a selector for GS
    /// in user mode.
    @inline(__always)
    static func setSegmentBase(_ vcpu: VCPU, _ arguments: CallArguments) -> UInt64 {
        if arguments.first == 3 {
            vcpu.loadUserGS(arguments.second & 0xffff)
            return 0
        }
        return vcpu.setSegmentBase(arguments.first, arguments.second) ? 0 : XenError.invalid
    }

    /// (frames, entries). Guest entries fit one frame: the hardware's limit, with Xen's own
    /// selectors above, allows more, which no kernel uses.
    static func setGDT(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        let count = arguments.second & 0xffff_ffff
        var number: UInt64 = 0
        if count > 0 && count <= 512 {
            let read = vcpu.copyIn(&number, from: GuestVirtual(arguments.first))
            guard case .done = read else { return Answer(read) }
        }
        return Answer(loadGDT(vcpu, number, count, by: vcpu))
    }

    /// Makes the first entries of a frame the GDT of a vCPU, which is the caller or claimed by it.
    static func loadGDT(
        _ target: VCPU, _ number: UInt64, _ count: UInt64, by vcpu: VCPU
    ) -> MemoryStatus {
        guard count <= 512, number < UInt64(vmPage.pointee.ram_frames) else { return .refused }
        let frame = GuestFrame(UInt32(number))
        for index in 0..<count as Range<UInt64> {
            guard let entry = vcpu.memory.entry(at: GuestPhysical(frame: frame, slot: Int(index))) else {
                return .needsFrame(frame, count: 1)
            }
            target.setGuestDescriptor(index, entry.value)
        }
        for index in count..<512 as Range<UInt64> { target.setGuestDescriptor(index, 0) }
        target.state.pointee.descriptorFrame = frame.value
        target.state.pointee.descriptorCount = UInt32(count)
        return .done
    }

    /// (machine address, descriptor): stored in the guest's table, and in the copies of that: a GDT
    /// of any vCPU's, the LDT of this one.
    static func updateDescriptor(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        let place = GuestPhysical(arguments.first)
        guard place.frameNumber < UInt64(vmPage.pointee.ram_frames),
            SegmentDescriptor(value: arguments.second).sanitised != nil
        else { return .value(XenError.invalid) }
        let stored = vcpu.memory.update(place, to: GuestEntry(arguments.second))
        guard case .done = stored else { return Answer(stored) }
        updateGDTs(vcpu, place, arguments.second)
        return updateLDT(vcpu, place, arguments.second)
    }

    /// What is stored meets no set_gdt of another vCPU's that could make it worse than either: both
    /// are of the guest's own, and sanitised.
    private static func updateGDTs(_ vcpu: VCPU, _ place: GuestPhysical, _ value: UInt64) {
        let index = place.pageOffset >> 3
        var id: UInt64 = 0
        while let owner = vcpu.other(id) {
            if place.frameNumber == UInt64(owner.state.pointee.descriptorFrame),
                index < UInt64(owner.state.pointee.descriptorCount)
            {
                owner.setGuestDescriptor(index, value)
            }
            id += 1
        }
    }

    /// SET_LDT: (address, entries).
    static func setLDT(_ vcpu: VCPU, _ address: GuestVirtual, _ count: UInt64) -> Answer {
        guard count <= 8192, count == 0 || address.pageOffset == 0 && vcpu.isGuestAddress(address) else {
            return .value(XenError.invalid)
        }
        let isLoaded = vcpu.page.pointee.sel_ldt != 0
        if count == 0 && !isLoaded { return .value(0) }
        var index: UInt64 = 0
        while index < count {
            let read = copyLDT(vcpu, address, index, min(DescriptorBlock.count, count - index))
            guard case .done = read else { return Answer(read) }
            index += DescriptorBlock.count
        }
        vcpu.setLDT(count: count)
        vcpu.state.pointee.localDescriptors = address.value
        vcpu.state.pointee.localDescriptorCount = UInt32(count)
        // The module's way in loads LDTR.
        return .leave(value: 0, reason: PENUMBRA_EXIT_SLICE, argument: 0)
    }

    private static func copyLDT(
        _ vcpu: VCPU, _ address: GuestVirtual, _ first: UInt64, _ count: UInt64
    ) -> MemoryStatus {
        var block = DescriptorBlock()
        let start = GuestVirtual(address.value &+ first &* 8)
        let read = vcpu.copyIn(&block, from: start, bytes: UInt(count &* 8))
        guard case .done = read else { return read }
        for offset in 0..<Int(count) as Range<Int> {
            vcpu.setLocalDescriptor(first &+ UInt64(offset), block.words[offset])
        }
        return .done
    }

    /// A change in the frame that holds a loaded LDT: that block is copied again, since the
    /// frame may be mapped at any of its pages.
    private static func updateLDT(_ vcpu: VCPU, _ place: GuestPhysical, _ value: UInt64) -> Answer {
        let count = UInt64(vcpu.state.pointee.localDescriptorCount)
        guard count != 0 else { return .value(0) }
        let start = GuestVirtual(vcpu.state.pointee.localDescriptors)
        var first: UInt64 = 0
        while first < count {
            let offset = first &* 8 &+ place.pageOffset & ~255 & 4095
            if offset >> 3 < count {
                let read = copyLDT(vcpu, start, offset >> 3, min(DescriptorBlock.count, count - offset >> 3))
                guard case .done = read else { return Answer(read) }
            }
            first += 512
        }
        return .value(0)
    }

    // MARK: - Debug registers

    /// (register, value). DR4 and DR5 do not exist; addresses never reach the core's.
    static func setDebugRegister(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        let register = arguments.first
        guard register < 8, register != 4, register != 5 else { return .value(XenError.invalid) }
        guard register > 3 || vcpu.isGuestAddress(GuestVirtual(arguments.second)) else {
            return .value(XenError.notPermitted)
        }
        let value =
            register == 7 ? DebugControl(value: arguments.second).sanitised.value : arguments.second
        let old = vcpu.debugRegister(register)
        vcpu.setDebugRegister(register, value)
        // The module's way in loads them; disarmed ones it leaves alone.
        let isIdle = !DebugControl(value: vcpu.debugRegister(7)).isArmed
        let wasIdle = register != 7 || !DebugControl(value: old).isArmed
        if isIdle && wasIdle { return .value(0) }
        return .leave(value: 0, reason: PENUMBRA_EXIT_SLICE, argument: 0)
    }

    static func debugRegister(_ vcpu: VCPU, _ arguments: CallArguments) -> UInt64 {
        let register = arguments.first
        guard register < 8, register != 4, register != 5 else { return XenError.invalid }
        return vcpu.debugRegister(register)
    }
}
