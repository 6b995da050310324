// SPDX-License-Identifier: Apache-2.0
// A system call, whose frame the core's fast path writes, meets a kernel stack in the hole.
// Attack: contexts
// Expect: crash bad-stack
import CKit

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    Info.mask = false
    if hypercall(PTEST_SET_KERNEL_STACK, kit_core_vcpus + 0x20000) != 0 {
        // Refused at once: then an unmapped one has to do.
        setKernelStack(testArea + 0x1000)
    }
    _ = callUser({ a, _, _, _ in systemCall(KIT_SYSCALL_NEXT, a) })
    check(false, "the system call was delivered nowhere")
}
