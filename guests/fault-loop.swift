// SPDX-License-Identifier: Apache-2.0
// A handler that returns without mending anything: the guest faults for ever, each fault
// delivered to it. That is its own affair, and it can be ended at any moment.
// Attack: time
// Expect: timeout
import CKit

@_cdecl("guest_main")
func guestMain() {
    setTrapHandler(14) { _ in }
    _ = kit_load64(testArea)
    check(false, "the load came back")
}
