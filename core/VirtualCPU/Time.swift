// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Time is the TSC's, scaled as the guest itself scales it (struct penumbra_clock, the
// format of pvclock). The core keeps the deadline; the module arms a timer for it when the
// vCPU is out, so a deadline that comes closer than what is armed takes an exit.

import CPenumbra

extension VCPU {
    /// No deadline.
    static var never: UInt64 { .max }

    /// ns since the VM began.
    static var now: UInt64 {
        let clock = vmPage.pointee.clock
        let ticks = Processor.timeStamp &- clock.tsc_base
        let scaled =
            clock.shift < 0
            ? ticks >> UInt64(UInt32(bitPattern: 0 &- clock.shift) & 63)
            : ticks << UInt64(UInt32(bitPattern: clock.shift) & 63)
        let product = scaled.multipliedFullWidth(by: UInt64(clock.mul))
        return product.high << 32 | product.low >> 32
    }

    /// Whether the deadline has passed; if so there is none any more.
    func takeExpiredDeadline() -> Bool {
        guard page.pointee.deadline != Self.never, page.pointee.deadline <= Self.now else { return false }
        page.pointee.deadline = Self.never
        return true
    }

    /// From here on it has nothing to do.
    func beginIdleTime() {
        state.pointee.idleSince = Self.now
        state.pointee.sleepsOffline = stage != .up
    }

    /// It has been woken, if it slept.
    func endIdleTime() {
        let since = state.pointee.idleSince
        guard since != 0 else { return }
        state.pointee.idleSince = 0
        let time = Self.now &- since
        if state.pointee.sleepsOffline {
            state.pointee.offlineTime &+= time
        } else {
            state.pointee.blockedTime &+= time
        }
    }

    /// The module's timer is late for the deadline, or has fired before it was due.
    var needsArming: Bool { page.pointee.deadline < page.pointee.armed_deadline }
}
