// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Event channels, in the two-level form (public/event_channel.h): a pending bit and a mask bit
// per port in shared_info, a selector word and a pending byte per vCPU in vcpu_info.
//
//      pending[port] 0 -> 1, not masked ─► vcpu_info.selector bit 0 -> 1 ─► vcpu_info.pending = 1
//
// Each arrow is one atomic operation, so that raisers on any vCPU and the guest, which clears
// in the opposite order, never lose an event between them. The other end of every port that is
// neither an interrupt nor between vCPUs is the VMM: sending there signals its eventfd.

import CPenumbra

enum VirtualInterrupt {
    static var timer: UInt64 { 0 }
    static var count: UInt64 { 24 }
}

/// What a port is (also EVTCHNOP_status' numbers).
enum PortKind: UInt8 {
    case closed = 0
    case unbound = 1
    case interdomain = 2
    case virtualInterrupt = 4
    case betweenCPUs = 5
}

/// One port's entry in the table: an atomic word, so that a port is claimed without a lock.
struct PortEntry: Equatable {
    let value: UInt64

    init(value: UInt64) { self.value = value }
    init(_ kind: PortKind, vcpu: UInt32, interrupt: UInt64 = 0) {
        value = UInt64(kind.rawValue) | interrupt << 8 | UInt64(vcpu) << 32
    }

    static var closed: PortEntry { PortEntry(value: 0) }
    /// Closed for all that is asked of it, and not free yet: no kind has this number.
    static var closing: PortEntry { PortEntry(value: 0xff) }
    var kind: PortKind { PortKind(rawValue: UInt8(truncatingIfNeeded: value)) ?? .closed }
    var interrupt: UInt64 { value >> 8 & 0xff }
    var vcpu: UInt64 { value >> 32 }
    func moved(to vcpu: UInt64) -> PortEntry { PortEntry(value: value & 0xffff_ffff | vcpu << 32) }
}

/// Arguments of most commands, as two words each.
private struct PortRequest {
    var low: UInt32 = 0
    var high: UInt32 = 0
    var port: UInt32 = 0
}

/// EVTCHNOP_status.
private struct PortStatus {
    /// Bits 15:0 the domain; then the port.
    var domain: UInt32 = 0
    var port: UInt32 = 0
    var status: UInt32 = 0
    var vcpu: UInt32 = 0
    var detail: UInt64 = 0
}

private enum EventCommand {
    static var bindInterrupt: UInt64 { 1 }
    static var close: UInt64 { 3 }
    static var send: UInt64 { 4 }
    static var status: UInt64 { 5 }
    static var allocate: UInt64 { 6 }
    static var bindBetweenCPUs: UInt64 { 7 }
    static var bindVCPU: UInt64 { 8 }
    static var unmask: UInt64 { 9 }
}

extension XenPV {
    /// (command, record).
    static func eventChannel(_ vcpu: VCPU, _ arguments: CallArguments) -> Answer {
        let record = GuestVirtual(arguments.second)
        let command = arguments.first
        if command == EventCommand.status { return portStatus(vcpu, record) }
        guard let size = recordSize(command) else { return .value(XenError.unknown) }
        var request = PortRequest()
        let read = vcpu.copyIn(&request, from: record, bytes: size)
        guard case .done = read else { return Answer(read) }
        switch command {
        case EventCommand.send: return send(vcpu, UInt64(request.low))
        case EventCommand.unmask: return unmask(vcpu, UInt64(request.low))
        case EventCommand.close: return .value(close(vcpu, UInt64(request.low)))
        case EventCommand.bindVCPU: return move(vcpu, UInt64(request.low), to: UInt64(request.high))
        default: return open(vcpu, command, request, record)
        }
    }

    private static func recordSize(_ command: UInt64) -> UInt? {
        switch command {
        case EventCommand.bindInterrupt: 12
        case EventCommand.close, EventCommand.send, EventCommand.unmask: 4
        case EventCommand.allocate, EventCommand.bindBetweenCPUs, EventCommand.bindVCPU: 8
        default: nil
        }
    }

    // MARK: - Opening and closing

    /// The commands that make a port and store its number in the record's last word.
    private static func open(
        _ vcpu: VCPU, _ command: UInt64, _ request: PortRequest, _ record: GuestVirtual
    ) -> Answer {
        let isInterrupt = command == EventCommand.bindInterrupt
        let target = command == EventCommand.allocate ? 0 : UInt64(isInterrupt ? request.high : request.low)
        guard let owner = vcpu.other(target) else { return .value(XenError.noEntry) }
        let entry: PortEntry
        if isInterrupt {
            guard UInt64(request.low) < VirtualInterrupt.count else { return .value(XenError.invalid) }
            guard owner.interruptPort(UInt64(request.low)) == 0 else { return .value(XenError.exists) }
            entry = PortEntry(.virtualInterrupt, vcpu: owner.id, interrupt: UInt64(request.low))
        } else if command == EventCommand.allocate {
            entry = PortEntry(.unbound, vcpu: 0)
        } else {
            entry = PortEntry(.betweenCPUs, vcpu: owner.id)
        }
        guard let port = EventPorts.claim(entry) else { return .value(XenError.noSpace) }
        var number = UInt32(truncatingIfNeeded: port)
        let offset: UInt64 = isInterrupt ? 8 : 4
        let stored = vcpu.copyOut(&number, to: GuestVirtual(record.value &+ offset), bytes: 4)
        guard case .done = stored else {
            abandon(port, entry)
            return Answer(stored)
        }
        if isInterrupt, !owner.setInterruptPort(UInt64(request.low), from: 0, to: UInt32(port)) {
            abandon(port, entry)
            return .value(XenError.exists)
        }
        return .value(0)
    }

    /// Closes a port that nobody was told of, unless somebody who guessed it was first.
    private static func abandon(_ port: UInt64, _ entry: PortEntry) {
        if EventPorts.beginClosing(port, entry) { EventPorts.endClosing(port) }
    }

    private static func close(_ vcpu: VCPU, _ port: UInt64) -> UInt64 {
        guard let entry = EventPorts.entry(port), entry.kind != .closed,
            EventPorts.beginClosing(port, entry)
        else { return XenError.invalid }
        if entry.kind == .virtualInterrupt, let owner = vcpu.other(entry.vcpu) {
            _ = owner.setInterruptPort(entry.interrupt, from: UInt32(port), to: 0)
        }
        Shared.clearPending(port)
        EventPorts.endClosing(port)
        return 0
    }

    /// What the module posted before it saw the new vCPU is left to that one: it is told to look.
    private static func move(_ vcpu: VCPU, _ port: UInt64, to number: UInt64) -> Answer {
        guard let entry = EventPorts.entry(port), let target = vcpu.other(number) else {
            return .value(XenError.noEntry)
        }
        guard entry.kind == .unbound || entry.kind == .interdomain,
            EventPorts.replace(port, entry, by: entry.moved(to: number))
        else { return .value(XenError.invalid) }
        target.raiseAttention(PENUMBRA_ATTENTION_POSTED)
        return kick(target.id == vcpu.id ? 0 : 1 << UInt64(target.id))
    }

    private static func portStatus(_ vcpu: VCPU, _ record: GuestVirtual) -> Answer {
        var status = PortStatus()
        let read = vcpu.copyIn(&status, from: record, bytes: 8)
        guard case .done = read else { return Answer(read) }
        guard status.domain & 0xffff == UInt32(domainSelf) else { return .value(XenError.notPermitted) }
        guard let entry = EventPorts.entry(UInt64(status.port)) else { return .value(XenError.invalid) }
        status.status = UInt32(entry.kind.rawValue)
        status.vcpu = UInt32(truncatingIfNeeded: entry.vcpu)
        status.detail = entry.kind == .virtualInterrupt ? entry.interrupt : 0
        return Answer(vcpu.copyOut(&status, to: record, bytes: 24))
    }

    // MARK: - Sending

    private static func send(_ vcpu: VCPU, _ port: UInt64) -> Answer {
        guard let entry = EventPorts.entry(port) else { return .value(XenError.invalid) }
        switch entry.kind {
        case .closed, .virtualInterrupt: return .value(XenError.invalid)
        case .unbound, .interdomain:
            return .leave(value: 0, reason: PENUMBRA_EXIT_NOTIFY, argument: port)
        case .betweenCPUs:
            guard let target = vcpu.other(entry.vcpu) else { return .value(XenError.noEntry) }
            return kick(raise(port, on: target, by: vcpu))
        }
    }

    /// Clears the mask bit; what was pending meanwhile is raised now, on the vCPU it is bound to.
    private static func unmask(_ vcpu: VCPU, _ port: UInt64) -> Answer {
        guard let entry = EventPorts.entry(port), entry.kind != .closed,
            let target = vcpu.other(entry.vcpu)
        else { return .value(XenError.invalid) }
        guard Shared.unmask(port) else { return .value(0) }
        return kick(upcall(port, on: target, by: vcpu))
    }

    private static func kick(_ vcpus: UInt64) -> Answer {
        vcpus == 0 ? .value(0) : .leave(value: 0, reason: PENUMBRA_EXIT_KICK, argument: vcpus)
    }

    /// Makes a port pending for a vCPU, and ends the sleep of those that poll it, masked or not.
    /// - Returns: other vCPUs that have something new to look at, to be kicked: a bit each.
    static func raise(_ port: UInt64, on target: VCPU, by vcpu: VCPU) -> UInt64 {
        guard target.state.pointee.info != 0, Shared.setPending(port) else { return 0 }
        let polling = Pollers.wake(port, by: vcpu)
        return Shared.isMasked(port) ? polling : polling | upcall(port, on: target, by: vcpu)
    }

    /// One that is not up is kicked too, for nothing: it looks at its events when it is.
    private static func upcall(_ port: UInt64, on target: VCPU, by vcpu: VCPU) -> UInt64 {
        target.select(port: port)
        guard target.id != vcpu.id else { return 0 }
        target.raiseAttention(PENUMBRA_ATTENTION_EVENT)
        return 1 << UInt64(target.id)
    }
}
