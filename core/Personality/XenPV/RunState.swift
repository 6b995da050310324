// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// How a vCPU's time went by (public/vcpu.h, vcpu_runstate_info). The guest names an address, by
// its own tables, where it wants to find that; it is told when the area is registered,
// and whenever the host has run others in its place (stolen time), which is what Linux reads
// there. Only the vCPU itself is told, in its own tables; an area that cannot be
// written then is left as it is. Its state reads as running: nobody looks at a vCPU's area from
// outside its own time.

import CPenumbra

/// Times are in ns; their sum is the vCPU's age.
private struct RunState {
    /// 0 running, 1 runnable, 2 blocked, 3 offline.
    var state: UInt64 = 0
    /// When it was entered. Bit 63: the record is being changed.
    var since: UInt64 = 0
    var running: UInt64 = 0
    /// Ready, while the host ran others.
    var runnable: UInt64 = 0
    var blocked: UInt64 = 0
    var offline: UInt64 = 0

    static var size: UInt { 48 }
    static var sinceOffset: UInt64 { 8 }
    static var isChanging: UInt64 { 1 << 63 }

    init(of vcpu: VCPU) {
        let state = vcpu.state
        since = VCPU.now
        runnable = vcpu.page.pointee.stolen_time
        blocked = state.pointee.blockedTime
        offline = state.pointee.offlineTime
        let others = runnable &+ blocked &+ offline
        running = since > others ? since - others : 0
    }
}

extension XenPV {
    /// get_runstate_info, of any vCPU.
    static func tellRunState(of target: VCPU, at record: GuestVirtual, by vcpu: VCPU) -> Answer {
        var runState = RunState(of: target)
        return Answer(vcpu.copyOut(&runState, to: record, bytes: RunState.size))
    }

    /// (address), 0: no more. The area is in the tables of the vCPU whose it is: of another it is
    /// first written here, by ours.
    static func registerRunState(of target: VCPU, _ record: GuestVirtual, by vcpu: VCPU) -> Answer {
        var address: UInt64 = 0
        let read = vcpu.copyIn(&address, from: record)
        guard case .done = read else { return Answer(read) }
        if address != 0 {
            let told = tellRunState(of: target, at: GuestVirtual(address), by: vcpu)
            guard case .value(0) = told else { return told }
        }
        target.state.pointee.runStateAddress = address
        return .value(0)
    }

    /// A reader takes the record if its time of entry is the same before and after, and has no mark.
    /// One that was interrupted by what a copy needs first is told all of it again, so no mark stays.
    static func noteStolenTime(_ vcpu: VCPU) -> MemoryStatus {
        let stolen = vcpu.page.pointee.stolen_time
        switch tellRunState(of: vcpu) {
        case .done, .refused, .guestFault, .notCanonical: break
        case let status: return status
        }
        vcpu.state.pointee.stolenTime = stolen
        return .done
    }

    private static func tellRunState(of vcpu: VCPU) -> MemoryStatus {
        let address = vcpu.state.pointee.runStateAddress
        guard address != 0 else { return .done }
        var runState = RunState(of: vcpu)
        let since = GuestVirtual(address &+ RunState.sinceOffset)
        var mark = runState.since | RunState.isChanging
        var status = vcpu.copyOut(&mark, to: since, bytes: 8)
        guard case .done = status else { return status }
        mark = runState.since
        runState.since |= RunState.isChanging
        status = vcpu.copyOut(&runState, to: GuestVirtual(address), bytes: RunState.size)
        guard case .done = status else { return status }
        return vcpu.copyOut(&mark, to: since, bytes: 8)
    }
}
