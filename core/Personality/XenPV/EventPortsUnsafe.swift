// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Where the personality's shared words lie: the port table in the core's state (pages 16 to
// 23), shared_info in the first special frame, vcpu_info where the guest put it. The frames
// were claimed for the core before their addresses were taken, so that they stay present and
// are no page tables; every index is bounded here.

import CCore
import CPenumbra

/// The VM's ports, each an atomic word.
enum EventPorts {
    @inline(__always) private static var table: UInt { Windows.state &+ 16 &* 4096 }

    private static func address(_ port: UInt64) -> UInt {
        precondition(port < UInt64(PENUMBRA_MAX_PORTS))
        return table &+ UInt(port) &* 8
    }

    /// The two ports that exist from the start.
    static func begin() {
        set(UInt64(XENPV_PORT_XENSTORE), PortEntry(.interdomain, vcpu: 0))
        set(UInt64(XENPV_PORT_CONSOLE), PortEntry(.interdomain, vcpu: 0))
    }

    /// nil: no such port, open or not.
    static func entry(_ port: UInt64) -> PortEntry? {
        guard port > 0, port < UInt64(PENUMBRA_MAX_PORTS) else { return nil }
        return PortEntry(value: ccore_load64(address(port)))
    }

    private static func set(_ port: UInt64, _ entry: PortEntry) {
        ccore_store64(address(port), entry.value)
        Ports.bind(port, to: UInt16(truncatingIfNeeded: entry.vcpu))
    }

    /// False if the port is not what the caller took it for: another vCPU was first.
    static func replace(_ port: UInt64, _ old: PortEntry, by new: PortEntry) -> Bool {
        guard ccore_compare_exchange64(address(port), old.value, new.value) else { return false }
        Ports.bind(port, to: UInt16(truncatingIfNeeded: new.vcpu))
        return true
    }

    /// The first closed port becomes this.
    static func claim(_ entry: PortEntry) -> UInt64? {
        var port = UInt64(XENPV_PORT_FIRST_FREE)
        while port < UInt64(PENUMBRA_MAX_PORTS) {
            if ccore_load64(address(port)) == 0, ccore_compare_exchange64(address(port), 0, entry.value) {
                Ports.bind(port, to: UInt16(truncatingIfNeeded: entry.vcpu))
                return port
            }
            port += 1
        }
        return nil
    }

    /// False as `replace`: of several that close a port one does, which then takes away what was made for
    /// it, before anybody can claim it.
    static func beginClosing(_ port: UInt64, _ entry: PortEntry) -> Bool {
        guard ccore_compare_exchange64(address(port), entry.value, PortEntry.closing.value) else {
            return false
        }
        Ports.bind(port, to: UInt16(PENUMBRA_NO_VCPU))
        return true
    }

    static func endClosing(_ port: UInt64) { ccore_store64(address(port), PortEntry.closed.value) }
}

/// The vCPUs that sleep until a port is pending (sched_op's poll), a bit each, behind the port table.
/// A poller adds its bit and then looks whether the port is pending; a raiser makes the port pending
/// and then looks for pollers. Both steps are locked operations, so one of them sees the other.
/// A bit may stay when its vCPU was woken otherwise: it is then woken once more, for nothing.
enum Pollers {
    /// Polls several ports, or none: any event wakes it.
    static var anyPort: UInt32 { .max }

    private static var address: UInt { Windows.state &+ 24 &* 4096 }

    static func add(_ vcpu: VCPU, polling port: UInt32) {
        vcpu.state.pointee.polledPort = port
        _ = ccore_fetch_or64(address, 1 << UInt64(vcpu.id))
    }

    static func remove(_ vcpu: VCPU) { _ = ccore_fetch_and64(address, ~(1 << UInt64(vcpu.id))) }

    /// - Returns: those of the others that are to be kicked.
    static func wake(_ port: UInt64, by vcpu: VCPU) -> UInt64 {
        ccore_load64(address) == 0 ? 0 : wakeEach(port, by: vcpu)
    }

    @inline(never)
    private static func wakeEach(_ port: UInt64, by vcpu: VCPU) -> UInt64 {
        var left = ccore_load64(address)
        var woken: UInt64 = 0
        while left != 0 {
            let id = UInt64(left.trailingZeroBitCount)
            left &= left &- 1
            guard let poller = vcpu.other(id) else { continue }
            let polled = poller.state.pointee.polledPort
            guard polled == anyPort || UInt64(polled) == port, poller.id != vcpu.id,
                ccore_fetch_and64(address, ~(1 << id)) >> id & 1 != 0
            else { continue }
            poller.raiseAttention(PENUMBRA_ATTENTION_EVENT)
            woken |= 1 << id
        }
        return woken
    }
}

/// shared_info.
enum Shared {
    @inline(__always) private static var page: UInt {
        Windows.ram &+ UInt(xenpv_shared_info_frame(vmPage.pointee.ram_frames)) &* 4096
    }

    private static func word(_ array: Int32, _ port: UInt64) -> UInt {
        precondition(port < UInt64(PENUMBRA_MAX_PORTS))
        return page &+ UInt(array) &+ UInt(port >> 6) &* 8
    }

    /// - Returns: whether the bit was clear.
    static func setPending(_ port: UInt64) -> Bool {
        let bit: UInt64 = 1 << (port & 63)
        return ccore_fetch_or64(word(XENPV_SHARED_PENDING, port), bit) & bit == 0
    }

    static func isMasked(_ port: UInt64) -> Bool {
        ccore_load64(word(XENPV_SHARED_MASK, port)) >> (port & 63) & 1 != 0
    }

    static func clearPending(_ port: UInt64) {
        _ = ccore_fetch_and64(word(XENPV_SHARED_PENDING, port), ~(1 << (port & 63)))
    }

    static func isPending(_ port: UInt64) -> Bool {
        ccore_load64(word(XENPV_SHARED_PENDING, port)) >> (port & 63) & 1 != 0
    }

    /// - Returns: whether it was masked and is pending.
    static func unmask(_ port: UInt64) -> Bool {
        let bit: UInt64 = 1 << (port & 63)
        let old = ccore_fetch_and64(word(XENPV_SHARED_MASK, port), ~bit)
        return old & bit != 0 && isPending(port)
    }

    /// UTC at the moment that is 0 in guest time (public/xen.h, wc_*); once.
    static func publishWallClock() {
        let clock = page &+ UInt(XENPV_SHARED_WALL_CLOCK)
        let seconds = vmPage.pointee.clock.wall_ns / 1_000_000_000
        ccore_store32(clock, 1)
        ccore_store32(clock &+ 4, UInt32(truncatingIfNeeded: seconds))
        ccore_store32(clock &+ 8, UInt32(vmPage.pointee.clock.wall_ns % 1_000_000_000))
        ccore_store32(clock &+ 12, UInt32(truncatingIfNeeded: seconds >> 32))
        ccore_store32(clock, 2)
    }
}

extension VCPU {
    /// Says in vcpu_info that a port of that word is pending.
    func select(port: UInt64) {
        let selector = state.pointee.info &+ UInt(XENPV_INFO_PENDING_SELECTOR)
        let bit: UInt64 = 1 << (port >> 6)
        if ccore_fetch_or64(selector, bit) & bit == 0 { setEventsPending() }
    }

    /// The place that vcpu_info has in shared_info, until the guest chooses another.
    func placeInfo() {
        guard id < UInt32(XENPV_SHARED_VCPUS) else { return }
        let frame = GuestFrame(xenpv_shared_info_frame(vmPage.pointee.ram_frames))
        let place = GuestPhysical(frame: frame, slot: Int(id) * Int(XENPV_VCPU_INFO_SIZE) / 8)
        guard let address = memory.coreAddress(of: place) else { return }
        state.pointee.infoAddress = place.value
        state.pointee.info = address
    }

    /// The words of virtual interrupts' ports lie in the state, which outlives every call.
    private func interruptAddress(_ number: UInt64) -> UInt {
        precondition(number < VirtualInterrupt.count)
        return withUnsafeMutablePointer(to: &state.pointee.virqPorts) { UInt(bitPattern: $0) }
            &+ UInt(number) &* 4
    }

    /// 0: none.
    func interruptPort(_ number: UInt64) -> UInt32 { ccore_load32(interruptAddress(number)) }

    /// False if the interrupt's port is another.
    func setInterruptPort(_ number: UInt64, from old: UInt32, to new: UInt32) -> Bool {
        ccore_compare_exchange32(interruptAddress(number), old, new)
    }

    /// Moves vcpu_info to a place of the guest's choice, in a frame that is the core's now.
    /// Whatever came meanwhile is there once more: everything counts as pending.
    func moveInfo(to address: GuestPhysical, at place: UInt) {
        ccore_copy(place, state.pointee.info, UInt(XENPV_VCPU_INFO_SIZE))
        state.pointee.info = place
        state.pointee.infoAddress = address.value
        ccore_store64(place &+ UInt(XENPV_INFO_PENDING_SELECTOR), .max)
        setEventsPending()
    }
}
