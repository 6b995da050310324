// SPDX-License-Identifier: Apache-2.0
// Bugs that no core knows how to plant are refused, by debug cores as by others.
// Expect: exit 0
import CKit

@_cdecl("guest_main")
func guestMain() {
    forEach([99, 1000, 0x7fff_ffff]) { kind in
        check(hypercall(PTEST_PLANT, kind) < 0, "an unknown bug")
    }
}
