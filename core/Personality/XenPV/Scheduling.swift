// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Sleeping, ending, and what a kernel tells about its vCPUs: sched_op, vcpu_op, timers.

import CPenumbra

private enum ScheduleCommand {
    static var yield: UInt64 { 0 }
    static var block: UInt64 { 1 }
    static var shutdown: UInt64 { 2 }
    static var poll: UInt64 { 3 }
}

/// SHUTDOWN_* (public/sched.h).
private enum ShutdownReason {
    static var poweroff: UInt32 { 0 }
    static var reboot: UInt32 { 1 }
    static var crash: UInt32 { 3 }
    static var watchdog: UInt32 { 4 }
}

private enum VCPUCommand {
    static var isUp: UInt64 { 3 }
    static var registerRunstate: UInt64 { 5 }
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

/// sched_poll: ports, how many, until when.
private struct PollRequest {
    var ports: UInt64 = 0
    var count: UInt64 = 0
    var timeout: UInt64 = 0
}

/// vcpu_runstate_info (public/vcpu.h): a vCPU has its CPU to itself, so it runs all the time.
private struct RunState {
    var state: UInt64 = 0
    var since: UInt64 = 0
    var running: UInt64 = 0
    var runnable: UInt64 = 0
    var blocked: UInt64 = 0
    var offline: UInt64 = 0
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
    // MARK: - sched_op

    /// (command, record). RAX keeps the call's number for as long as it may have to be repeated.
    static func schedule(_ vcpu: VCPU, _ arguments: CallArguments) -> Continuation {
        switch arguments.first {
        case ScheduleCommand.block:
            vcpu.frame.rax = 0
            return vcpu.halt()
        case ScheduleCommand.yield:
            return end(.leave(value: 0, reason: PENUMBRA_EXIT_SLICE, argument: 0), vcpu, arguments)
        case ScheduleCommand.shutdown: return shutdown(vcpu, arguments)
        case ScheduleCommand.poll: return end(poll(vcpu, arguments), vcpu, arguments)
        default: return end(.value(XenError.unknown), vcpu, arguments)
        }
    }

    private static func shutdown(_ vcpu: VCPU, _ arguments: CallArguments) -> Continuation {
        var reason: UInt32 = 0
        let read = vcpu.copyIn(&reason, from: GuestVirtual(arguments.second))
        guard case .done = read else { return end(Answer(read), vcpu, arguments) }
        switch reason {
        case ShutdownReason.poweroff:
            return vcpu.leave(PENUMBRA_EXIT_SHUTDOWN, UInt64(PENUMBRA_SHUTDOWN_POWEROFF))
        case ShutdownReason.reboot:
            return vcpu.leave(PENUMBRA_EXIT_SHUTDOWN, UInt64(PENUMBRA_SHUTDOWN_REBOOT))
        case ShutdownReason.crash, ShutdownReason.watchdog:
            return vcpu.leave(PENUMBRA_EXIT_SHUTDOWN, UInt64(PENUMBRA_SHUTDOWN_CRASH))
        default: return end(.value(XenError.invalid), vcpu, arguments)
        }
    }

    /// Sleeps until one of the ports is pending, whatever is masked. Returning early is
    /// allowed, and what this does while nothing is pending: callers look again.
    private static func poll(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        var request = PollRequest()
        let read = vcpu.copyIn(&request, from: GuestVirtual(arguments.second))
        guard case .done = read else { return Answer(read) }
        guard request.count & 0xffff_ffff <= 128 else { return .value(XenError.invalid) }
        return .leave(value: 0, reason: PENUMBRA_EXIT_SLICE, argument: 0)
    }

    // MARK: - vcpu_op

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
        case VCPUCommand.isUp: return .value(target.state.pointee.info != 0 ? 1 : 0)
        case VCPUCommand.stopPeriodicTimer: return .value(0)
        case VCPUCommand.registerInfo: return registerInfo(vcpu, target, record)
        case VCPUCommand.registerRunstate: return registerRunstate(vcpu, record)
        case VCPUCommand.registerTime: return registerTime(vcpu, record)
        default: return .value(XenError.unknown)
        }
    }

    private static func setSingleTimer(_ vcpu: VCPU, _ target: VCPU, _ record: GuestVirtual) -> Answer {
        guard target.id == vcpu.id else { return .value(XenError.invalid) }
        var request = VCPURequest()
        let read = vcpu.copyIn(&request, from: record)
        guard case .done = read else { return Answer(read) }
        return setTimer(vcpu, at: request.first)
    }

    /// An alarm in the past rings at once.
    static func setTimer(_ vcpu: VCPU, at deadline: UInt64) -> Answer {
        vcpu.page.pointee.deadline = deadline
        if vcpu.takeExpiredDeadline() { timerExpired(vcpu) }
        return vcpu.needsArming
            ? .leave(value: 0, reason: PENUMBRA_EXIT_TIMER, argument: 0) : .value(0)
    }

    /// (frame, offset): vcpu_info moves there, once.
    private static func registerInfo(_ vcpu: VCPU, _ target: VCPU, _ record: GuestVirtual) -> Answer {
        var request = VCPURequest()
        let read = vcpu.copyIn(&request, from: record)
        guard case .done = read else { return Answer(read) }
        let offset = request.second & 0xffff_ffff
        guard request.first < UInt64(vmPage.pointee.ram_frames), offset & 63 == 0, offset < 4096,
            target.state.pointee.info != 0, !target.state.pointee.hasMovedInfo
        else { return .value(XenError.invalid) }
        let frame = GuestFrame(UInt32(request.first))
        let claimed = vcpu.memory.claimForCore(frame)
        guard case .done = claimed else { return Answer(claimed) }
        let address = GuestPhysical(request.first << 12 | offset)
        guard let place = vcpu.memory.coreAddress(of: address) else { return .value(XenError.invalid) }
        target.moveInfo(to: address, at: place)
        target.state.pointee.hasMovedInfo = true
        target.refreshFastPaths()
        return .value(0)
    }

    /// Written once: nothing in it ever changes.
    private static func registerRunstate(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        var address: UInt64 = 0
        let read = vcpu.copyIn(&address, from: record)
        guard case .done = read else { return Answer(read) }
        guard address != 0 else { return .value(0) }
        var runState = RunState()
        return Answer(vcpu.copyOut(&runState, to: GuestVirtual(address), bytes: 48))
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
