// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Sleeping, ending, and timers: sched_op, set_timer_op.

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

/// sched_poll: ports, how many, until when.
private struct PollRequest {
    var ports: UInt64 = 0
    var count: UInt64 = 0
    var timeout: UInt64 = 0
}

/// Ports of one poll, as in Xen.
private var pollLimit: UInt64 { 128 }

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
        case ScheduleCommand.poll: return poll(vcpu, arguments)
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

    /// Sleeps until one of the ports is pending, whatever is masked, or anything else wants this
    /// vCPU's attention: callers look again. One that names a time at which to stop returns at once.
    private static func poll(_ vcpu: VCPU, _ arguments: CallArguments) -> Continuation {
        var maySleep = false
        let answer = preparePoll(vcpu, arguments, &maySleep)
        guard maySleep else { return end(answer, vcpu, arguments) }
        vcpu.frame.rax = 0
        return vcpu.sleep()
    }

    @inline(never)
    private static func preparePoll(
        _ vcpu: VCPU, _ arguments: CallArguments, _ maySleep: inout Bool
    ) -> Answer {
        var request = PollRequest()
        let read = vcpu.copyIn(&request, from: GuestVirtual(arguments.second))
        guard case .done = read else { return Answer(read) }
        let count = request.count & 0xffff_ffff
        guard count <= pollLimit else { return .value(XenError.invalid) }
        if request.timeout != 0 { return .leave(value: 0, reason: PENUMBRA_EXIT_SLICE, argument: 0) }
        var first: UInt32 = 0
        if count > 0 {
            let read = vcpu.copyIn(&first, from: GuestVirtual(request.ports), bytes: 4)
            guard case .done = read else { return Answer(read) }
            guard EventPorts.entry(UInt64(first)) != nil else { return .value(XenError.invalid) }
        }
        Pollers.add(vcpu, polling: count == 1 ? first : Pollers.anyPort)
        var isPending = vcpu.eventsPending && !vcpu.eventsMasked
        let looked = look(vcpu, request.ports, count, &isPending)
        if case .value(0) = looked, !isPending { maySleep = true } else { Pollers.remove(vcpu) }
        return looked
    }

    /// Whether one of these ports is pending.
    private static func look(
        _ vcpu: VCPU, _ ports: UInt64, _ count: UInt64, _ isPending: inout Bool
    ) -> Answer {
        var index: UInt64 = 0
        while index < count {
            var port: UInt32 = 0
            let read = vcpu.copyIn(&port, from: GuestVirtual(ports &+ index &* 4), bytes: 4)
            guard case .done = read else { return Answer(read) }
            guard EventPorts.entry(UInt64(port)) != nil else { return .value(XenError.invalid) }
            if Shared.isPending(UInt64(port)) { isPending = true }
            index += 1
        }
        return .value(0)
    }

    // MARK: - Timers

    /// An alarm in the past rings at once.
    static func setTimer(_ vcpu: VCPU, at deadline: UInt64) -> Answer {
        vcpu.page.pointee.deadline = deadline
        let others = vcpu.takeExpiredDeadline() ? timerExpired(vcpu) : 0
        if others != 0 { return .leave(value: 0, reason: PENUMBRA_EXIT_KICK, argument: others) }
        return vcpu.needsArming
            ? .leave(value: 0, reason: PENUMBRA_EXIT_TIMER, argument: 0) : .value(0)
    }
}
