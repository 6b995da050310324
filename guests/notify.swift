// SPDX-License-Identifier: Apache-2.0
// Notifications to a port that no vCPU is bound to leave for the VMM, and the guest goes on at
// once; nothing comes back by itself.
// Expect: exit 0
import CKit

@_cdecl("guest_main")
func guestMain() {
    let port = UInt64(PTEST_PORT_FIRST_FREE) + 5
    let before = counter(PENUMBRA_COUNTER_exit_notify)
    let taken = Events.taken
    Events.setMask(false)
    for _ in 0..<100 {
        Events.send(port)
    }
    Events.setMask(true)
    equal(counter(PENUMBRA_COUNTER_exit_notify), before + 100, "each is an exit")
    equal(Events.taken, taken, "and no event of this vCPU")
    Events.bind(port, to: 0)
    Events.send(port)
    equal(counter(PENUMBRA_COUNTER_exit_notify), before + 100, "once bound, it stays inside")
    check(Info.pending, "and is an event")
}
