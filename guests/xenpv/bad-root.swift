// SPDX-License-Identifier: Apache-2.0
// A root that maps nothing, not even the kernel that loads it.
// Attack: page tables
// Expect: crash bad-stack
import XenKit

func guestMain() {
    let operation = xenpv_scratch_address()
    kit_store64(operation, 5)
    kit_store64(operation + 8, Domain.frames - 1)
    call(Call.mmuExtended, operation, 1, 0, domainSelf)
}
