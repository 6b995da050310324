// SPDX-License-Identifier: Apache-2.0
// An exception without a handler ends the VM.
// Attack: contexts
// Expect: crash triple-fault
import XenKit

func guestMain() {
    check(call(Call.setTrapTable) == 0, "no trap table")
    kit_trap_now()
}
