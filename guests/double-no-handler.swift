// SPDX-License-Identifier: Apache-2.0
// An exception that the guest has no handler for ends the VM: there is no way to deliver it.
// Attack: contexts
// Expect: crash triple-fault
import CKit

@_cdecl("guest_main")
func guestMain() {
    equal(hypercall(PTEST_SET_HANDLER, 14, 0, 0), 0, "take the #PF handler away")
    _ = kit_load64(testArea)
    check(false, "the load came back")
}
