// SPDX-License-Identifier: Apache-2.0
// A bug planted in the core: the core never comes back, and the watchdog ends it.
// The VM ends with the reason; the host and other VMs don't notice.
// Expect: crash core-stuck
// Needs: debug
import CKit

@_cdecl("guest_main")
func guestMain() {
    hypercall(PTEST_PLANT, UInt64(PTEST_PLANT_LOOP))
    check(false, "the core survived")
}
