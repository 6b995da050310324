// SPDX-License-Identifier: Apache-2.0
// Time: the clock does not go backwards and keeps pace with the TSC; a hundred timers fire
// after their deadline and never before it; a deadline moved closer, moved away or taken back
// does as it says.
// Expect: exit 0
import CKit

nonisolated(unsafe) var firedAt: UInt64 = 0

@_cdecl("guest_main")
func guestMain() {
    setTrapHandler(KIT_VECTOR_EVENT) { _ in
        firedAt = Clock.now
        Events.collect()
    }
    clockIsMonotonic()
    clockKeepsPace()
    for round: UInt64 in 0..<100 {
        firesAfter(round * 37_000)
    }
    movedDeadlines()
    inUserMode()
}

func clockIsMonotonic() {
    var last = Clock.now
    for round in 0..<20_000 {
        if round % 100 == 0 {
            hypercall(PTEST_YIELD)
        }
        let now = Clock.now
        check(now >= last, "the clock does not go backwards")
        last = now
    }
}

/// Over 50 ms, the clock and the TSC differ by no more than one in a thousand, plus what the
/// host may take between the two readings.
func clockKeepsPace() {
    let (time, ticks) = (Clock.now, kit_rdtsc())
    while Clock.now - time < 50 * Clock.millisecond {
        kit_pause()
    }
    let elapsed = Clock.now - time
    let byTSC = (kit_rdtsc() - ticks) * 1_000_000 / vm.tsc_khz
    let slack = elapsed / 1000 + 20 * Clock.millisecond
    check(byTSC + slack >= elapsed, "the clock is not fast")
    check(byTSC <= elapsed + slack, "the clock is not slow")
}

/// Waits for one event, spinning.
func awaitTimer(_ before: UInt64) {
    Events.setMask(false)
    while Events.timers == before {
        kit_pause()
    }
    Events.setMask(true)
}

func firesAfter(_ delay: UInt64) {
    let before = Events.timers
    let deadline = Clock.now + delay
    Clock.setTimer(deadline)
    awaitTimer(before)
    check(firedAt >= deadline, "no timer fires early")
    equal(Events.timers, before + 1, "one deadline, one event")
}

func movedDeadlines() {
    var before = Events.timers
    let base = Clock.now
    Clock.setTimer(base + 3600 * Clock.second)
    Clock.setTimer(base + 2 * Clock.millisecond)
    awaitTimer(before)
    check(firedAt >= base + 2 * Clock.millisecond, "moved closer")

    before = Events.timers
    Clock.setTimer(Clock.now + Clock.second)
    Clock.setTimer(~0)
    let end = Clock.now + 1100 * Clock.millisecond
    Events.setMask(false)
    while Clock.now < end {
        kit_pause()
    }
    Events.setMask(true)
    equal(Events.timers, before, "taken back")

    Clock.setTimer(0)
    awaitTimer(before)
    equal(Events.timers, before + 1, "a deadline in the past fires at once")
}

/// User code is interrupted, and goes on.
func inUserMode() {
    equal(setRoots(kernel: vm.root_frame, user: vm.root_frame), 0, "set roots")
    let before = Events.timers
    Clock.setTimer(Clock.now + 2 * Clock.millisecond)
    Events.setMask(false)
    let counter = kit_cpu_address(0) + UInt64(KIT_CPU_TIMER_EVENTS)
    let spins = callUser(
        { counter, before, _, _ in
            var spins: UInt64 = 1
            while kit_load64(counter) == before {
                spins &+= 1
            }
            return spins
        }, counter, before)
    Events.setMask(true)
    check(spins > 0, "user code ran until the event")
    equal(Events.timers, before + 1, "which came")
}
