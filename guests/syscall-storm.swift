// SPDX-License-Identifier: Apache-2.0
// Hypercalls and system calls without end: the core is entered all the time, and the host
// still gets its CPU back.
// Attack: time
// Expect: timeout
import CKit

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    while true {
        for _ in 0..<1000 {
            hypercall(PTEST_NOOP)
        }
        _ = callUser(
            { count, _, _, _ in
                for number in 0..<count {
                    _ = systemCall(KIT_SYSCALL_NEXT, number)
                }
                return 0
            }, 1000)
    }
}
