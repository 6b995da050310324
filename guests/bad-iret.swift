// SPDX-License-Identifier: Apache-2.0
// iret with a frame that cannot be read: RSP points into the core's slot.
// Attack: contexts
// Expect: crash bad-iret
import CKit

@_cdecl("guest_main")
func guestMain() {
    kit_iret_from(kit_core_vcpus + UInt64(PENUMBRA_VCPU_PAGE))
}
