// SPDX-License-Identifier: Apache-2.0
// A bug planted in the core: a shadow entry is corrupted, and the checker sees it.
// The VM ends with the reason; the host and other VMs don't notice.
// Expect: crash invariant
// Needs: debug
import CKit

@_cdecl("guest_main")
func guestMain() {
    hypercall(PTEST_PLANT, UInt64(PTEST_PLANT_INVARIANT))
    // The checker looks after an operation: give it one.
    flush(.local)
    check(false, "the core survived")
}
