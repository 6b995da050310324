// SPDX-License-Identifier: Apache-2.0
// User code loops for ever, events unmasked.
// Attack: time
// Expect: timeout
import CKit

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    Events.setMask(false)
    _ = callUser({ _, _, _, _ in
        while true {
            kit_pause()
        }
    })
}
