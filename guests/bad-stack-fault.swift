// SPDX-License-Identifier: Apache-2.0
// Page faults of user code by their shortest way: delivered whole while the kernel stack is there,
// and fatal when its frame reaches into a page that is not mapped.
// Attack: contexts
// Expect: crash bad-stack
import CKit

let missing = testArea + 0x9_8765_4000
let stackPage = testArea + 0x1_1000

@_cdecl("guest_main")
func guestMain() {
    setGate(14, UInt64(PTEST_GATE_MASK))
    Tables.map(vm.root_frame, missing + 0x1000, Frames.allocate())
    Tables.map(vm.root_frame, stackPage, Frames.allocate())
    makeUserRoot()
    Events.setMask(false)
    for _ in 0..<4 as Range<Int> {
        userProbe(kit_probe_load, missing).faults(missing, Fault.user, "user load")
        userProbe(kit_probe_store, missing + 8, 1)
            .faults(missing + 8, Fault.user | Fault.write, "user store")
    }
    // Of 64 bytes the lower half has no page.
    setKernelStack(stackPage + 32)
    _ = userProbe(kit_probe_load, missing)
    check(false, "the fault was delivered nowhere")
}
