// SPDX-License-Identifier: Apache-2.0
// A bug planted in the core: the core runs off the end of its stack, into the guard page.
// The VM ends with the reason; the host and other VMs don't notice.
// Expect: crash core-double-fault
// Needs: debug
import CKit

@_cdecl("guest_main")
func guestMain() {
    hypercall(PTEST_PLANT, UInt64(PTEST_PLANT_STACK))
    check(false, "the core survived")
}
