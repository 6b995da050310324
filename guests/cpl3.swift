// SPDX-License-Identifier: Apache-2.0
// Both modes run in ring 3: CS and SS carry CPL 3 in the guest kernel as in guest user.
// Expect: exit 0
import CKit

@_cdecl("guest_main")
func guestMain() {
    let kernel = kit_code_segment()
    equal(kernel & 3, 3, "guest kernel runs at CPL 3")
    equal(kit_stack_segment() & 3, 3, "its stack segment has RPL 3")
    put("guest kernel: CPL ")
    put(decimal: kernel & 3)
    endLine()

    makeUserRoot()
    let user = callUser({ _, _, _, _ in kit_code_segment() << 16 | kit_stack_segment() })
    equal(user, UInt64(PENUMBRA_SEL_GUEST_CS) << 16 | UInt64(PENUMBRA_SEL_GUEST_SS), "guest user's selectors")
    put("guest user: CPL ")
    put(decimal: user & 3)
    endLine()
}
