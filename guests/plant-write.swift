// SPDX-License-Identifier: Apache-2.0
// A bug planted in the core: the core stores to its own text.
// The VM ends with the reason; the host and other VMs don't notice.
// Expect: crash core-page-fault
// Needs: debug
import CKit

@_cdecl("guest_main")
func guestMain() {
    hypercall(PTEST_PLANT, UInt64(PTEST_PLANT_WRITE))
    check(false, "the core survived")
}
