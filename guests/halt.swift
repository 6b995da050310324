// SPDX-License-Identifier: Apache-2.0
// Halting: woken by the timer and not before it; at once when an event is pending or the
// deadline has passed; it leaves events unmasked, and leaves the CPU to the host meanwhile.
// Expect: exit 0
import CKit

@_cdecl("guest_main")
func guestMain() {
    for round: UInt64 in 0..<30 {
        sleepsUntil(round * 100_000)
    }
    pendingEventKeepsAwake()
    pastDeadline()
    sleepIsNotSpinning()
}

func halt() {
    equal(hypercall(PTEST_HALT), 0, "halt")
    check(!Info.mask, "halt unmasks events")
    Events.setMask(true)
}

func sleepsUntil(_ delay: UInt64) {
    let before = Events.timers
    let deadline = Clock.now + delay
    Clock.setTimer(deadline)
    halt()
    check(Clock.now >= deadline, "sleeps until the deadline")
    equal(Events.timers, before + 1, "the timer's event was delivered on waking")
}

/// The event was raised while masked: halt delivers it and does not sleep.
func pendingEventKeepsAwake() {
    let port = UInt64(PTEST_PORT_FIRST_FREE)
    Events.bind(port, to: 0)
    Clock.setTimer(~0)
    let before = Events.taken
    Events.send(port)
    equal(Events.taken, before, "not delivered while masked")
    halt()
    equal(Events.taken, before + 1, "delivered by halt, which came back")
    check(Events.collected() & 1 << port != 0, "with its port")
}

func pastDeadline() {
    let before = Events.timers
    Clock.setTimer(Clock.now - 1)
    halt()
    equal(Events.timers, before + 1, "a deadline in the past wakes at once")
}

/// While it sleeps, a vCPU is not in its world.
func sleepIsNotSpinning() {
    let halts = counter(PENUMBRA_COUNTER_exit_halt)
    let entries = counter(PENUMBRA_COUNTER_world_entries)
    Clock.setTimer(Clock.now + 50 * Clock.millisecond)
    halt()
    check(counter(PENUMBRA_COUNTER_exit_halt) > halts, "the core gave the CPU back")
    check(counter(PENUMBRA_COUNTER_world_entries) < entries + 50, "and was left alone")
}
