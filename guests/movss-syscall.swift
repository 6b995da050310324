// SPDX-License-Identifier: Apache-2.0
// MOV SS holds back a data breakpoint's #DB until after the next instruction,
// and if that is SYSCALL the #DB arrives in ring 0, on the guest's stack, before the core has
// done anything. The core must take it on a stack of its own and carry on.
// Attack: breakpoints
// Source: CVE-2018-8897 (XSA-260)
// Expect: exit 0
import CKit

/// RDI of the call that kit_probe_movss_syscall makes.
let argument: UInt64 = 41

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    let word = Frames.allocate() << 12
    kit_store64(word, UInt64(PENUMBRA_SEL_GUEST_SS))
    equal(hypercall(PTEST_SET_DEBUGREG, 0, word), 0, "DR0")
    for round in 0..<200 {
        // Breakpoint 0: any access to the word, eight bytes.
        equal(hypercall(PTEST_SET_DEBUGREG, 7, 0x400 | 1 | 3 << 16 | 2 << 18), 0, "DR7")
        let user = round & 1 == 1
        let seen =
            user
            ? userProbe(kit_probe_movss_syscall, word, UInt64(KIT_SYSCALL_NEXT))
            : probe(kit_probe_movss_syscall, word, UInt64(PTEST_NOOP))
        equal(hypercall(PTEST_SET_DEBUGREG, 7, 0x400), 0, "DR7")
        // An emulator may deliver the #DB before the syscall; then that does not happen.
        if seen.trap.taken == 1 {
            equal(seen.trap.vector, 1, "#DB")
        } else {
            equal(seen.value, user ? argument + 1 : 0, "the call was served")
        }
        equal(hypercall(PTEST_NOOP), 0, "the core is well")
    }
    equal(kit_load64(word), UInt64(PENUMBRA_SEL_GUEST_SS), "the word is what it was")
}
