// SPDX-License-Identifier: Apache-2.0
// The guest kernel faults while its own RSP points to nothing.
// Attack: contexts
// Expect: crash bad-stack
import CKit

@_cdecl("guest_main")
func guestMain() {
    // The push faults, and the fault's frame would go to where the push could not.
    _ = probe(kit_probe_push, testArea + 0x2000)
    check(false, "the fault was delivered nowhere")
}
