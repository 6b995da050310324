// SPDX-License-Identifier: Apache-2.0
// User code faults while the kernel stack that takes the frame is not mapped.
// Attack: contexts
// Expect: crash bad-stack
import CKit

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    setKernelStack(testArea + 0x1000)
    _ = userProbe(kit_probe_ud2)
    check(false, "the fault was delivered nowhere")
}
