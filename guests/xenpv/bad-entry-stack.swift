// SPDX-License-Identifier: Apache-2.0
// User code traps, and the kernel's stack for that is not there.
// Attack: contexts
// Expect: crash bad-stack
import XenKit

func guestMain() {
    let operation = xenpv_scratch_address()
    kit_store64(operation, 15)
    kit_store64(operation + 8, Domain.root)
    check(call(Call.mmuExtended, operation, 1, 0, domainSelf) == 0, "a user root")
    check(call(Call.stackSwitch, 0xe02b, 0x7000_0000_0000) == 0, "a stack that will be missed")
    xenpv_try_user(0x7000_0000_1000, 0, 0x202)
}
