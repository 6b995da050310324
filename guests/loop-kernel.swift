// SPDX-License-Identifier: Apache-2.0
// The guest kernel loops for ever, events unmasked.
// Attack: time
// Expect: timeout
import CKit

@_cdecl("guest_main")
func guestMain() {
    Events.setMask(false)
    while true {
        kit_pause()
    }
}
