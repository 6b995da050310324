// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// vcpu_op: what a kernel asks about its vCPUs, and of them.

import CPenumbra

private enum VCPUCommand {
    static var initialise: UInt64 { 0 }
    static var up: UInt64 { 1 }
    static var down: UInt64 { 2 }
    static var isUp: UInt64 { 3 }
    static var runState: UInt64 { 4 }
    static var registerRunState: UInt64 { 5 }
    static var stopPeriodicTimer: UInt64 { 7 }
    static var setTimer: UInt64 { 8 }
    static var stopTimer: UInt64 { 9 }
    static var registerInfo: UInt64 { 10 }
    static var registerTime: UInt64 { 13 }
}

/// vcpu_set_singleshot_timer, vcpu_register_vcpu_info: two words each.
private struct VCPURequest {
    var first: UInt64 = 0
    var second: UInt64 = 0
}

/// vcpu_time_info.
private struct TimeRecord {
    var version: UInt64 = 2
    var timestamp: UInt64 = 0
    var systemTime: UInt64 = 0
    /// Bits 31:0 multiplier, 39:32 shift, 47:40 flags.
    var scale: UInt64 = 0
}

extension XenPV {
    /// (command, vCPU, record).
    static func vcpuOperation(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        guard let target = vcpu.other(arguments.second & 0xffff_ffff) else {
            return .value(XenError.noEntry)
        }
        let record = GuestVirtual(arguments.third)
        switch arguments.first {
        case VCPUCommand.setTimer: return setSingleTimer(vcpu, target, record)
        case VCPUCommand.stopTimer:
            guard target.id == vcpu.id else { return .value(XenError.invalid) }
            vcpu.page.pointee.deadline = VCPU.never
            return .value(0)
        case VCPUCommand.isUp: return .value(target.stage == .up ? 1 : 0)
        case VCPUCommand.stopPeriodicTimer: return .value(0)
        default: return rareOperation(vcpu, target, arguments.first, record)
        }
    }

    @inline(never)
    private static func rareOperation(
        _ vcpu: VCPU, _ target: VCPU, _ command: UInt64, _ record: GuestVirtual
    ) -> Answer {
        switch command {
        case VCPUCommand.initialise: initialise(target, from: record, by: vcpu)
        case VCPUCommand.up: bringUp(target)
        case VCPUCommand.down: takeDown(target, by: vcpu)
        case VCPUCommand.runState: tellRunState(of: target, at: record, by: vcpu)
        case VCPUCommand.registerRunState: registerRunState(of: target, record, by: vcpu)
        case VCPUCommand.registerInfo: registerInfo(vcpu, target, record)
        case VCPUCommand.registerTime: registerTime(vcpu, record)
        default: .value(XenError.unknown)
        }
    }

    // MARK: - Up and down

    /// It starts, or goes on behind the call that took it down.
    private static func bringUp(_ target: VCPU) -> Answer {
        switch target.stage {
        case .blank: return .value(XenError.invalid)
        case .claimed: return .slice  // somebody is at it: again
        case .up: return .value(0)
        case .ready, .down:
            guard target.advance(from: .ready, to: .up) || target.advance(from: .down, to: .up) else {
                return .slice
            }
            target.raiseAttention(PENUMBRA_ATTENTION_EVENT)
            return .leave(value: 0, reason: PENUMBRA_EXIT_KICK, argument: 1 << UInt64(target.id))
        }
    }

    /// It stops where it is; with the last one that is up, the VM ends, as in Xen.
    private static func takeDown(_ target: VCPU, by vcpu: VCPU) -> Answer {
        guard target.advance(from: .up, to: .down) else { return .value(0) }
        // Not even the caller may be: others take it down meanwhile.
        if !isAnyUp(vcpu) {
            return .leave(
                value: 0, reason: PENUMBRA_EXIT_SHUTDOWN, argument: UInt64(PENUMBRA_SHUTDOWN_POWEROFF))
        }
        if target.id != vcpu.id {
            target.raiseAttention(PENUMBRA_ATTENTION_EVENT)
            return .leave(value: 0, reason: PENUMBRA_EXIT_KICK, argument: 1 << UInt64(target.id))
        }
        vcpu.beginIdleTime()
        return .leave(value: 0, reason: PENUMBRA_EXIT_HALT, argument: 0)
    }

    /// Two that go down at once may both find that none is left: each has said so before it looks.
    private static func isAnyUp(_ vcpu: VCPU) -> Bool {
        var id: UInt64 = 0
        while let other = vcpu.other(id) {
            if other.stage == .up { return true }
            id += 1
        }
        return false
    }

    // MARK: - Timers

    private static func setSingleTimer(_ vcpu: VCPU, _ target: VCPU, _ record: GuestVirtual) -> Answer {
        guard target.id == vcpu.id else { return .value(XenError.invalid) }
        var request = VCPURequest()
        let read = vcpu.copyIn(&request, from: record)
        guard case .done = read else { return Answer(read) }
        return setTimer(vcpu, at: request.first)
    }

    // MARK: - Areas

    /// (frame, offset): vcpu_info moves there, once. Of another vCPU only before it was ever up: one that
    /// is down may not have left the core yet.
    private static func registerInfo(_ vcpu: VCPU, _ target: VCPU, _ record: GuestVirtual) -> Answer {
        var request = VCPURequest()
        let read = vcpu.copyIn(&request, from: record)
        guard case .done = read else { return Answer(read) }
        let offset = request.second & 0xffff_ffff
        guard request.first < UInt64(vmPage.pointee.ram_frames), offset & 63 == 0, offset < 4096 else {
            return .value(XenError.invalid)
        }
        let address = GuestPhysical(request.first << 12 | offset)
        if target.id == vcpu.id { return moveInfo(of: target, to: address, by: vcpu) }
        let stage = target.stage
        if stage == .claimed { return .slice }
        guard stage == .blank || stage == .ready else { return .value(XenError.invalid) }
        guard target.advance(from: stage, to: .claimed) else { return .slice }
        let answer = moveInfo(of: target, to: address, by: vcpu)
        target.settle(as: stage)
        return answer
    }

    private static func moveInfo(of target: VCPU, to address: GuestPhysical, by vcpu: VCPU) -> Answer {
        guard target.state.pointee.info != 0, !target.state.pointee.hasMovedInfo,
            let frame = vcpu.memory.frame(numbered: address.frameNumber)
        else { return .value(XenError.invalid) }
        let claimed = vcpu.memory.claimForCore(frame)
        guard case .done = claimed else { return Answer(claimed) }
        guard let place = vcpu.memory.coreAddress(of: address) else { return .value(XenError.invalid) }
        target.moveInfo(to: address, at: place)
        target.state.pointee.hasMovedInfo = true
        // It starts there, and looks at its fast paths itself.
        target.page.pointee.start.info_address = address.value
        if target.id == vcpu.id { vcpu.refreshFastPaths() }
        return .value(0)
    }

    /// The second copy of the clock, for the guest's own user space. 0: no more.
    private static func registerTime(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        var address: UInt64 = 0
        let read = vcpu.copyIn(&address, from: record)
        guard case .done = read else { return Answer(read) }
        guard address != 0 else { return .value(0) }
        let clock = vmPage.pointee.clock
        var time = TimeRecord()
        time.timestamp = clock.tsc_base
        let shift = UInt64(UInt8(truncatingIfNeeded: clock.shift))
        time.scale = UInt64(clock.mul) | shift << 32 | 1 << 40
        return Answer(vcpu.copyOut(&time, to: GuestVirtual(address), bytes: 32))
    }
}
