// SPDX-License-Identifier: Apache-2.0
// A page-fault handler where nothing is mapped: each fault makes another one, a frame deeper,
// until the stack has no room for it.
// Attack: time
// Expect: crash bad-stack
import XenKit

func guestMain() {
    let table = xenpv_scratch_address()
    kit_store64(table, 14 | 0xe033 << 16)
    kit_store64(table + 8, 0x7000_0000_0000)
    kit_store64(table + 16, 0)
    kit_store64(table + 24, 0)
    check(call(Call.setTrapTable, table) == 0, "the trap table")
    _ = kit_load64(0x7000_0000_1000)
}
