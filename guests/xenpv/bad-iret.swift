// SPDX-License-Identifier: Apache-2.0
// iret from a frame that is not there: nothing says where to go on.
// Attack: contexts
// Expect: crash bad-iret
import XenKit

func guestMain() {
    kit_iret_from(0x7000_0000_0000)
}
