// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Page tables. A guest's entries are taken as they are and rendered by the shadows, so that
// page types and reference counts, of which Xen's interface speaks, have nothing to guard:
// pinning says which frames are tables, and nothing more.

import CPenumbra

/// One request of mmu_update: the low three bits of the address are the command.
private struct TableRequest {
    var address: UInt64 = 0
    var value: UInt64 = 0

    static var normal: UInt64 { 0 }
    static var machineToPhysical: UInt64 { 1 }
    static var preservingAccessedDirty: UInt64 { 2 }
    static var size: UInt64 { 16 }
}

/// As many as one copy brings: a request that writes to those behind it comes too late for the
/// next three.
private struct FourRequests {
    var requests = InlineArray<4, TableRequest>(repeating: TableRequest())
}

/// One operation of mmuext_op.
private struct ExtendedOperation {
    var command: UInt64 = 0
    var first: UInt64 = 0
    var second: UInt64 = 0

    static var unpin: UInt64 { 4 }
    static var loadKernelRoot: UInt64 { 5 }
    static var flushLocal: UInt64 { 6 }
    static var flushPageLocal: UInt64 { 7 }
    static var flushMany: UInt64 { 8 }
    static var flushPageMany: UInt64 { 9 }
    static var flushAll: UInt64 { 10 }
    static var flushPageAll: UInt64 { 11 }
    static var flushCache: UInt64 { 12 }
    static var setLDT: UInt64 { 13 }
    static var loadUserRoot: UInt64 { 15 }
    static var flushCacheGlobally: UInt64 { 18 }
    static var size: UInt64 { 24 }
}

extension XenPV {
    // MARK: - mmu_update

    /// (requests, count, done, domain). What is done so far is in the upper half of the
    /// domain's register, which is 16 bits wide.
    @inline(__always)
    static func updateTables(_ vcpu: VCPU, _ arguments: inout CallArguments) -> Answer {
        guard arguments.fourth & 0xffff_ffff == domainSelf else { return .value(XenError.notPermitted) }
        var left = min(arguments.second & 0xffff_ffff, sliceItems)
        let began = vcpu.memory.removals
        var list = FourRequests()
        while left >= 4, !vcpu.memory.hasUsedSlice(since: began),
            vcpu.copyDirectly(&list, from: GuestVirtual(arguments.first))
        {
            var index = 0
            while index < 4 {
                let status = applyNext(list.requests[index], vcpu, &arguments)
                guard case .done = status else { return endUpdates(vcpu, arguments, Answer(status)) }
                index += 1
            }
            left -= 4
        }
        while left > 0, !vcpu.memory.hasUsedSlice(since: began) {
            var request = TableRequest()
            let read = vcpu.copyIn(&request, from: GuestVirtual(arguments.first))
            guard case .done = read else { return endUpdates(vcpu, arguments, Answer(read)) }
            let status = applyNext(request, vcpu, &arguments)
            guard case .done = status else { return endUpdates(vcpu, arguments, Answer(status)) }
            left -= 1
        }
        if arguments.second & 0xffff_ffff != 0 { return .slice }
        return arguments.third == 0 ? .value(0) : endUpdates(vcpu, arguments, .value(0))
    }

    @inline(__always)
    private static func applyNext(
        _ request: TableRequest, _ vcpu: VCPU, _ arguments: inout CallArguments
    ) -> MemoryStatus {
        let status = apply(request, vcpu)
        if case .done = status {
            arguments.first &+= TableRequest.size
            arguments.second &-= 1
            arguments.fourth &+= 1 << 32
        }
        return status
    }

    /// The short form, for what Linux asks most: one plain update, with no word about how many
    /// were done. False if it is not that, with nothing changed.
    @inline(__always)
    static func updateOne(_ vcpu: VCPU) -> Bool {
        let frame = vcpu.frame
        guard frame.rsi == 1, frame.rdx == 0, frame.r10 == domainSelf else { return false }
        var request = TableRequest()
        guard vcpu.copyDirectly(&request, from: GuestVirtual(frame.rdi)),
            request.address & 7 == TableRequest.normal,
            vcpu.memory.updateAtOnce(GuestPhysical(request.address), to: GuestEntry(request.value))
        else { return false }
        vcpu.frame.rax = 0
        return true
    }

    @inline(__always)
    private static func apply(_ request: TableRequest, _ vcpu: VCPU) -> MemoryStatus {
        let command = request.address & 7
        let address = GuestPhysical(request.address & ~7)
        let value = GuestEntry(request.value)
        if command == TableRequest.normal {
            return vcpu.memory.updateAtOnce(address, to: value)
                ? .done : vcpu.memory.update(address, to: value)
        }
        if command == TableRequest.preservingAccessedDirty {
            return vcpu.memory.update(address, to: value, preservingAccessedDirty: true)
        }
        // The map is the identity: only that can be asked for.
        let isIdentity =
            command == TableRequest.machineToPhysical && request.value == address.frameNumber
        return isIdentity ? .done : .refused
    }

    /// Tells the guest how many were done, if it wants to know.
    @inline(never)
    private static func endUpdates(_ vcpu: VCPU, _ arguments: CallArguments, _ answer: Answer) -> Answer {
        guard case .value = answer, arguments.third != 0 else { return answer }
        var done = UInt32(truncatingIfNeeded: arguments.fourth >> 32)
        let status = vcpu.copyOut(&done, to: GuestVirtual(arguments.third), bytes: 4)
        if case .done = status { return answer }
        return Answer(status)
    }

    // MARK: - update_va_mapping

    /// (address, entry, flags). Flags: bits 1:0 none, all, or this page; then where: bit 2 all
    /// vCPUs, else a pointer to a bitmap in bits 63:3, else here.
    @inline(__always)
    static func updateAddress(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        let address = GuestVirtual(arguments.first)
        let flags = arguments.third
        let status = vcpu.memory.updateLeaf(
            at: address, to: GuestEntry(arguments.second), thenFlush: flags == 2)
        if case .done = status, flags == 0 || flags == 2 { return .value(0) }
        return finishUpdate(vcpu, status, address, flags)
    }

    @inline(never)
    private static func finishUpdate(
        _ vcpu: VCPU, _ status: MemoryStatus, _ address: GuestVirtual, _ flags: UInt64
    ) -> Answer {
        guard case .done = status else { return Answer(status) }
        guard flags & 3 != 3 else { return .value(XenError.invalid) }
        guard flags & 3 != 0 else { return .value(0) }
        var vcpus: UInt64 = 1 << UInt64(vcpu.id)
        if flags & 4 != 0 {
            vcpus = .max
        } else if flags & ~7 != 0 {
            let read = readMask(vcpu, GuestVirtual(flags & ~7), &vcpus)
            guard case .done = read else { return Answer(read) }
        }
        return Answer(vcpu.memory.flush(flags & 3 == 1 ? .all : .page(address), vcpus: vcpus))
    }

    /// A bitmap of vCPUs, as far as there can be vCPUs.
    private static func readMask(_ vcpu: VCPU, _ address: GuestVirtual, _ mask: inout UInt64) -> MemoryStatus
    {
        vcpu.copyIn(&mask, from: address)
    }

    // MARK: - mmuext_op

    /// (operations, count, done, domain), counted as `updateTables` does.
    @inline(__always)
    static func extendedOperations(_ vcpu: VCPU, _ arguments: inout CallArguments) -> Answer {
        guard arguments.fourth & 0xffff_ffff == domainSelf else { return .value(XenError.notPermitted) }
        var left = min(arguments.second & 0xffff_ffff, sliceItems)
        let began = vcpu.memory.removals
        while left > 0, !vcpu.memory.hasUsedSlice(since: began) {
            var operation = ExtendedOperation()
            let read = vcpu.copyIn(&operation, from: GuestVirtual(arguments.first))
            guard case .done = read else { return endUpdates(vcpu, arguments, Answer(read)) }
            let answer = perform(operation, vcpu)
            guard case .value(0) = answer else {
                guard case .leave = answer else { return endUpdates(vcpu, arguments, answer) }
                // The module is due; the operations behind this one come after it.
                advance(&arguments)
                return .slice
            }
            advance(&arguments)
            left -= 1
        }
        if arguments.second & 0xffff_ffff != 0 { return .slice }
        return arguments.third == 0 ? .value(0) : endUpdates(vcpu, arguments, .value(0))
    }

    @inline(__always)
    private static func advance(_ arguments: inout CallArguments) {
        arguments.first &+= ExtendedOperation.size
        arguments.second &-= 1
        arguments.fourth &+= 1 << 32
    }

    @inline(__always)
    private static func perform(_ operation: ExtendedOperation, _ vcpu: VCPU) -> Answer {
        let command = operation.command & 0xffff_ffff
        if command == ExtendedOperation.loadKernelRoot { return loadKernelRoot(vcpu, operation.first) }
        if command == ExtendedOperation.loadUserRoot {
            return Answer(vcpu.loadUserRoot(operation.first))
        }
        if command <= ExtendedOperation.unpin {
            return mark(vcpu, operation.first, isTable: command != ExtendedOperation.unpin)
        }
        return flushOrRare(operation, command, vcpu)
    }

    @inline(never)
    private static func flushOrRare(
        _ operation: ExtendedOperation, _ command: UInt64, _ vcpu: VCPU
    ) -> Answer {
        let page = FlushExtent.page(GuestVirtual(operation.first))
        let own: UInt64 = 1 << UInt64(vcpu.id)
        switch command {
        case ExtendedOperation.flushLocal: return Answer(vcpu.memory.flush(.all, vcpus: own))
        case ExtendedOperation.flushPageLocal: return Answer(vcpu.memory.flush(page, vcpus: own))
        case ExtendedOperation.flushMany: return flushMany(vcpu, .all, operation.second)
        case ExtendedOperation.flushPageMany: return flushMany(vcpu, page, operation.second)
        case ExtendedOperation.flushAll: return Answer(vcpu.memory.flush(.all, vcpus: .max))
        case ExtendedOperation.flushPageAll: return Answer(vcpu.memory.flush(page, vcpus: .max))
        case ExtendedOperation.flushCache, ExtendedOperation.flushCacheGlobally: return .value(0)
        case ExtendedOperation.setLDT:
            return setLDT(vcpu, GuestVirtual(operation.first), operation.second & 0xffff_ffff)
        default: return .value(XenError.unknown)
        }
    }

    private static func flushMany(_ vcpu: VCPU, _ extent: FlushExtent, _ address: UInt64) -> Answer {
        var vcpus: UInt64 = 0
        let read = readMask(vcpu, GuestVirtual(address), &vcpus)
        guard case .done = read else { return Answer(read) }
        return Answer(vcpu.memory.flush(extent, vcpus: vcpus))
    }

    /// PIN and UNPIN.
    @inline(never)
    private static func mark(_ vcpu: VCPU, _ number: UInt64, isTable: Bool) -> Answer {
        guard number < UInt64(vmPage.pointee.total_frames) else { return .value(XenError.invalid) }
        return Answer(vcpu.memory.markTable(GuestFrame(UInt32(number)), isTable))
    }

    // MARK: - Roots

    private static func loadKernelRoot(_ vcpu: VCPU, _ number: UInt64) -> Answer {
        let prepared = prepareRoot(vcpu, number)
        guard case .done = prepared else { return Answer(prepared) }
        return Answer(vcpu.loadKernelRoot(number))
    }

    /// Every kernel root leads to the machine-to-physical map, as Xen's do.
    static func prepareRoot(_ vcpu: VCPU, _ number: UInt64) -> MemoryStatus {
        guard number < UInt64(vmPage.pointee.total_frames) else { return .refused }
        let table = UInt64(xenpv_m2p_tables_frame(vmPage.pointee.ram_frames))
        guard table < UInt64(vmPage.pointee.total_frames) else { return .refused }
        let entry = GuestEntry(table << 12 | EntryBits.present | EntryBits.writable | EntryBits.accessed)
        let place = GuestPhysical(frame: GuestFrame(UInt32(number)), slot: Int(XENPV_M2P_SLOT))
        guard vcpu.memory.entry(at: place) != entry else { return .done }
        return vcpu.memory.update(place, to: entry)
    }
}
