// SPDX-License-Identifier: Apache-2.0
// Roots that are no frames of the guest's are refused, and nothing changes.
// Attack: page tables
// Expect: exit 0
import CKit

@_cdecl("guest_main")
func guestMain() {
    let root = vm.root_frame
    equal(setRoots(kernel: root, user: root), 0, "roots that exist")
    forEach([vm.ram_frames + 1_048_576, 1 << 32 | root, 1 << 40, ~0]) { wild in
        equal(setRoots(kernel: wild, user: root), Errno.invalid, "a wild kernel root")
        equal(setRoots(kernel: root, user: wild), Errno.invalid, "a wild user root")
        equal(kit_load64(kit_direct_map + 0x10_0000), kit_load64(0x10_0000), "the old root works")
        equal(callUser({ a, _, _, _ in a + 1 }, 1), 2, "and user mode with the old user root")
    }
}
