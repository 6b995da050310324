// SPDX-License-Identifier: Apache-2.0
// Requests to the VMM: the answer is the right one for each of a thousand, with events coming
// in between.
// Expect: exit 0
import CKit

@_cdecl("guest_main")
func guestMain() {
    var random = Random(state: 7)
    setTrapHandler(KIT_VECTOR_EVENT) { _ in
        Events.collect()
        Clock.setTimer(Clock.now + 200_000)
    }
    Clock.setTimer(Clock.now)
    Events.setMask(false)
    for _ in 0..<1000 {
        let a = random.next() >> 2
        let b = random.next() >> 2
        equal(hypercall(PTEST_REQUEST, a, b), Int64(a + b), "the VMM adds")
    }
    Events.setMask(true)
    check(Events.timers > 0, "events came in between")
    check(counter(PENUMBRA_COUNTER_exit_request) >= 1000, "each request is an exit")
}
