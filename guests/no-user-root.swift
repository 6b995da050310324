// SPDX-License-Identifier: Apache-2.0
// Going to user mode without a user root is an iret to a context that cannot be.
// Attack: contexts
// Expect: crash bad-iret
import CKit

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    equal(callUser({ a, _, _, _ in a + 1 }, 1), 2, "user mode runs")
    equal(setRoots(kernel: vm.root_frame, user: 0), 0, "no user root any more")
    _ = callUser({ a, _, _, _ in a + 1 }, 1)
    check(false, "user mode ran without a root")
}
