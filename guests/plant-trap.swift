// SPDX-License-Identifier: Apache-2.0
// A bug planted in the core: checked arithmetic of the core overflows.
// The VM ends with the reason; the host and other VMs don't notice.
// Expect: crash core-trap
// Needs: debug
import CKit

@_cdecl("guest_main")
func guestMain() {
    hypercall(PTEST_PLANT, UInt64(PTEST_PLANT_TRAP))
    check(false, "the core survived")
}
