// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The calls about the domain as a whole: versions and features, memory, console, grants.

import CPenumbra

private enum VersionCommand {
    static var version: UInt64 { 0 }
    static var extraVersion: UInt64 { 1 }
    static var compileInfo: UInt64 { 2 }
    static var capabilities: UInt64 { 3 }
    static var changeSet: UInt64 { 4 }
    static var platform: UInt64 { 5 }
    static var features: UInt64 { 6 }
    static var pageSize: UInt64 { 7 }
    static var handle: UInt64 { 8 }
}

/// xen_feature_info: which word of features, and that word.
private struct FeatureRequest {
    var index: UInt32 = 0
    var features: UInt32 = 0

    /// mmu_pt_update_preserve_ad, highmem_assist, gnttab_map_avail_bits, direct_mapped
    /// (public/features.h, bits 5, 6, 7, 17).
    static var offered: UInt32 { 1 << 5 | 1 << 6 | 1 << 7 | 1 << 17 }
}

/// A short text, with its terminator, in a larger zeroed record.
private struct VersionText {
    var words = InlineArray<18, UInt64>(repeating: 0)
}

private enum MemoryCommand {
    static var decreaseReservation: UInt64 { 1 }
    static var currentReservation: UInt64 { 3 }
    static var maximumReservation: UInt64 { 4 }
    static var populate: UInt64 { 6 }
    static var memoryMap: UInt64 { 9 }
    static var machineToPhysical: UInt64 { 12 }
    static var mask: UInt64 { 63 }
}

/// xen_memory_map: entries, and where they go.
private struct MemoryMapRequest {
    var count: UInt64 = 0
    var buffer: UInt64 = 0
}

/// e820entry, without the type's upper half: 20 bytes, one RAM range.
private struct MemoryMapEntry {
    var address: UInt64 = 0
    var size: UInt64 = 0
    var type: UInt64 = 1
}

/// xen_machphys_mapping.
private struct MachineMapping {
    var start: UInt64 = 0
    var end: UInt64 = 0
    var lastFrame: UInt64 = 0
}

/// xen_memory_reservation.
private struct Reservation {
    var frames: UInt64 = 0
    var count: UInt64 = 0
    /// Bits 31:0 order, 63:32 flags.
    var order: UInt64 = 0
    var domain: UInt64 = 0
}

/// gnttab_setup_table and gnttab_query_size begin alike: domain, then a number.
private struct GrantRequest {
    var domain: UInt32 = 0
    var count: UInt32 = 0
    /// Bits 15:0 status.
    var status: UInt64 = 0
    var frames: UInt64 = 0
}

private enum GrantCommand {
    static var setupTable: UInt64 { 2 }
    static var querySize: UInt64 { 6 }
    static var setVersion: UInt64 { 8 }
}

extension XenPV {
    /// Xen 4.17, whose interface this is.
    static var interfaceVersion: UInt64 { 4 << 16 | 17 }

    private static var consoleLimit: UInt64 { 2048 }

    // MARK: - xen_version

    static func version(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        if arguments.first == VersionCommand.version { return .value(interfaceVersion) }
        return describe(vcpu, arguments.first, GuestVirtual(arguments.second))
    }

    private static func describe(_ vcpu: VCPU, _ command: UInt64, _ record: GuestVirtual) -> Answer {
        var text = VersionText()
        switch command {
        case VersionCommand.features: return features(vcpu, record)
        case VersionCommand.pageSize: return .value(UInt64(PENUMBRA_PAGE_SIZE))
        case VersionCommand.platform:
            text.words[0] = UInt64(PENUMBRA_HOLE_START)
            return Answer(vcpu.copyOut(&text, to: record, bytes: 8))
        case VersionCommand.extraVersion:
            text.words[0] = 0x6d75_6e65_702e  // ".penum"
            return Answer(vcpu.copyOut(&text, to: record, bytes: 16))
        case VersionCommand.capabilities:
            text.words[0] = 0x2e33_2d6e_6578  // "xen-3."
            text.words[0] |= 0x2d30 << 48  // "0-"
            text.words[1] = 0x0034_365f_3638_78  // "x86_64"
            return Answer(vcpu.copyOut(&text, to: record, bytes: 64))
        case VersionCommand.compileInfo: return Answer(vcpu.copyOut(&text, to: record, bytes: 144))
        case VersionCommand.changeSet: return Answer(vcpu.copyOut(&text, to: record, bytes: 64))
        case VersionCommand.handle: return Answer(vcpu.copyOut(&text, to: record, bytes: 16))
        default: return .value(XenError.unknown)
        }
    }

    private static func features(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        var request = FeatureRequest()
        let read = vcpu.copyIn(&request, from: record)
        guard case .done = read else { return Answer(read) }
        request.features = request.index == 0 ? FeatureRequest.offered : 0
        return Answer(vcpu.copyOut(&request, to: record, bytes: 8))
    }

    /// vm_assist: what Linux asks for is how this machine works anyhow.
    static func assist(_ arguments: CallArguments) -> UInt64 {
        arguments.first <= 1 && arguments.second <= 5 ? 0 : XenError.invalid
    }

    /// physdev_op: SET_IOPL alone, since port accesses of a kernel are emulated.
    static func physicalDevice(_ arguments: CallArguments) -> UInt64 {
        arguments.first == 6 ? 0 : XenError.unknown
    }

    // MARK: - memory_op

    /// (command, record). Above the command's six bits stands how much of a list is done, as in Xen.
    static func memoryOperation(_ vcpu: VCPU, _ arguments: inout CallArguments) -> Answer {
        let record = GuestVirtual(arguments.second)
        switch arguments.first & MemoryCommand.mask {
        case MemoryCommand.memoryMap: return memoryMap(vcpu, record)
        case MemoryCommand.machineToPhysical: return machineMapping(vcpu, record)
        case MemoryCommand.decreaseReservation: return changeReservation(vcpu, &arguments, isDecrease: true)
        case MemoryCommand.populate: return changeReservation(vcpu, &arguments, isDecrease: false)
        case MemoryCommand.currentReservation, MemoryCommand.maximumReservation:
            return .value(UInt64(vmPage.pointee.ram_frames))
        default: return .value(XenError.unknown)
        }
    }

    /// All memory is one range of RAM.
    private static func memoryMap(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        var request = MemoryMapRequest()
        let read = vcpu.copyIn(&request, from: record)
        guard case .done = read else { return Answer(read) }
        guard request.count & 0xffff_ffff >= 1 else { return .value(XenError.invalid) }
        var entry = MemoryMapEntry()
        entry.size = UInt64(vmPage.pointee.ram_frames) << 12
        let stored = vcpu.copyOut(&entry, to: GuestVirtual(request.buffer), bytes: 20)
        guard case .done = stored else { return Answer(stored) }
        var count: UInt32 = 1
        return Answer(vcpu.copyOut(&count, to: record, bytes: 4))
    }

    private static func machineMapping(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        let frames = vmPage.pointee.ram_frames
        var mapping = MachineMapping()
        mapping.start = UInt64(XENPV_M2P_START)
        mapping.end = mapping.start + UInt64(xenpv_m2p_frames(frames)) << 12
        mapping.lastFrame = UInt64(frames) - 1
        return Answer(vcpu.copyOut(&mapping, to: record, bytes: 24))
    }

    /// The balloon gives frames up and takes the same ones back: they stay the VM's, so that
    /// the map stays the identity. RAX: how many, up to the first that cannot be.
    private static func changeReservation(
        _ vcpu: VCPU, _ arguments: inout CallArguments, isDecrease: Bool
    ) -> Answer {
        var request = Reservation()
        let read = vcpu.copyIn(&request, from: GuestVirtual(arguments.second))
        guard case .done = read else { return Answer(read) }
        guard request.order & 0xffff_ffff == 0, request.domain & 0xffff == domainSelf else {
            return .value(0)
        }
        var left = sliceItems
        let began = vcpu.memory.removals
        while left > 0, !vcpu.memory.hasUsedSlice(since: began) {
            let done = arguments.first >> 6
            guard done < request.count else { return .value(done) }
            let place = GuestVirtual(request.frames &+ done &* 8)
            let answer = Answer(changeFrame(vcpu, place, isDecrease))
            guard case .value(0) = answer else {
                if case .value = answer { return .value(done) }
                return answer
            }
            arguments.first &+= MemoryCommand.mask &+ 1
            left -= 1
        }
        return .slice
    }

    private static func changeFrame(_ vcpu: VCPU, _ place: GuestVirtual, _ isDecrease: Bool) -> MemoryStatus {
        var number: UInt64 = 0
        let read = vcpu.copyIn(&number, from: place)
        guard case .done = read else { return read }
        guard number < UInt64(vmPage.pointee.ram_frames) else { return .refused }
        return isDecrease
            ? vcpu.memory.dropFrame(GuestFrame(UInt32(number))) : vcpu.copyOut(&number, to: place, bytes: 8)
    }

    // MARK: - console_io

    /// (command, count, text): 0 writes, before the console's ring is there.
    static func writeConsole(_ vcpu: VCPU, _ arguments: CallArguments) -> Continuation {
        guard arguments.first == 0 else { return end(.value(0), vcpu, arguments) }
        let count = min(arguments.second & 0xffff_ffff, consoleLimit)
        let read = vcpu.memory.copyIn(
            to: vcpu.runData, from: GuestVirtual(arguments.third), count: UInt(count), mode: .kernel)
        guard case .done = read, count > 0 else { return end(Answer(read), vcpu, arguments) }
        vcpu.run.pointee.data_length = UInt32(count)
        return vcpu.ask(UInt64(XENPV_REQUEST_CONSOLE), count, 0)
    }

    // MARK: - grant_table_op

    /// (command, records, count): version 1, as a front end needs it. One record at a time.
    static func grantTable(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        let record = GuestVirtual(arguments.second)
        guard arguments.third & 0xffff_ffff <= 1 else { return .value(XenError.unknown) }
        switch arguments.first {
        case GrantCommand.setupTable: return setupGrants(vcpu, record)
        case GrantCommand.querySize: return queryGrants(vcpu, record)
        case GrantCommand.setVersion: return setGrantVersion(vcpu, record)
        default: return .value(XenError.unknown)
        }
    }

    private static func setupGrants(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        var request = GrantRequest()
        let read = vcpu.copyIn(&request, from: record)
        guard case .done = read else { return Answer(read) }
        // GNTST_general_error, GNTST_bad_domain are small negative numbers; 0 is okay.
        var status: UInt64 = 0
        if request.domain & 0xffff != UInt32(domainSelf) {
            status = UInt64(UInt16(bitPattern: -2))
        } else if request.count > UInt32(XENPV_GRANT_FRAMES) {
            status = UInt64(UInt16(bitPattern: -1))
        } else {
            let listed = listGrantFrames(vcpu, request)
            guard case .done = listed else { return Answer(listed) }
        }
        request.status = request.status & ~0xffff | status
        return Answer(vcpu.copyOut(&request, to: record, bytes: 16))
    }

    private static func listGrantFrames(_ vcpu: VCPU, _ request: GrantRequest) -> MemoryStatus {
        let first = UInt64(xenpv_grant_frame(vmPage.pointee.ram_frames))
        var index: UInt64 = 0
        while index < UInt64(request.count) {
            var number = first + index
            let stored = vcpu.copyOut(&number, to: GuestVirtual(request.frames &+ index &* 8), bytes: 8)
            guard case .done = stored else { return stored }
            index += 1
        }
        return .done
    }

    /// gnttab_query_size: domain, frames in use, frames at most, status.
    private static func queryGrants(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        var request = GrantRequest()
        let read = vcpu.copyIn(&request, from: record, bytes: 4)
        guard case .done = read else { return Answer(read) }
        let isSelf = request.domain & 0xffff == UInt32(domainSelf)
        request.count = UInt32(XENPV_GRANT_FRAMES)
        request.status = UInt64(XENPV_GRANT_FRAMES) | (isSelf ? 0 : UInt64(UInt16(bitPattern: -2)) << 32)
        return Answer(vcpu.copyOut(&request, to: record, bytes: 16))
    }

    private static func setGrantVersion(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        var version: UInt32 = 0
        let read = vcpu.copyIn(&version, from: record)
        guard case .done = read else { return Answer(read) }
        return .value(version == 1 ? 0 : XenError.unknown)
    }
}
