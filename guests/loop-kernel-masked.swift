// SPDX-License-Identifier: Apache-2.0
// The guest kernel loops for ever with events masked: the mask is between it and its events,
// the host's interrupts know nothing of it.
// Attack: time
// Expect: timeout
import CKit

@_cdecl("guest_main")
func guestMain() {
    Events.setMask(true)
    _ = probe(kit_probe_cli)
    while true {
        kit_pause()
    }
}
