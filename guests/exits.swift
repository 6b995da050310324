// SPDX-License-Identifier: Apache-2.0
// Every reason to leave the core that a healthy guest can have, seen in the counters.
// Expect: exit 0
// Needs: memory=32M
import CKit

func grows(_ index: penumbra_counter, _ message: StaticString, _ body: () -> Void) {
    let before = counter(index)
    body()
    check(counter(index) > before, message)
}

func spin(_ duration: UInt64) {
    let end = Clock.now + duration
    while Clock.now < end {
        kit_pause()
    }
}

@_cdecl("guest_main")
func guestMain() {
    grows(PENUMBRA_COUNTER_exit_interrupt, "interrupt") { spin(100 * Clock.millisecond) }
    grows(PENUMBRA_COUNTER_exit_halt, "halt") {
        Clock.setTimer(Clock.now + 20 * Clock.millisecond)
        hypercall(PTEST_HALT)
        Events.setMask(true)
    }
    grows(PENUMBRA_COUNTER_exit_timer, "timer") {
        Clock.setTimer(Clock.now + 100 * Clock.second)
        Clock.setTimer(Clock.now + 10 * Clock.second)
        Clock.setTimer(~0)
    }
    grows(PENUMBRA_COUNTER_exit_notify, "notify") { Events.send(20) }
    grows(PENUMBRA_COUNTER_exit_request, "request") {
        equal(hypercall(PTEST_REQUEST, 1, 2), 3, "the VMM's answer")
    }
    grows(PENUMBRA_COUNTER_exit_populate, "populate") {
        for _ in 0..<1024 {
            kit_store64(Frames.allocate() << 12, 1)
        }
    }
    grows(PENUMBRA_COUNTER_exit_grow, "grow") {
        for index: UInt64 in 0..<256 {
            let address = testArea + index << 21
            Tables.map(vm.root_frame, address, vm.first_free_frame)
            _ = kit_load64(address)
        }
    }
    slice()
    let before = counter(PENUMBRA_COUNTER_world_entries)
    hypercall(PTEST_YIELD)
    check(counter(PENUMBRA_COUNTER_world_entries) > before, "yield leaves and comes back")
}

/// A long array of updates is worked off in slices.
func slice() {
    let pairs: UInt64 = 4096
    let array = Frames.allocate(pairs * 16 / pageSize) << 12
    let entry = Tables.entry(vm.root_frame, testArea)
    for index in 0..<pairs {
        kit_store64(array + index * 16, entry)
        kit_store64(array + index * 16 + 8, 0)
    }
    grows(PENUMBRA_COUNTER_exit_slice, "slice") {
        equal(hypercall(PTEST_UPDATE, array, pairs, 0), 0, "a long array")
    }
}
