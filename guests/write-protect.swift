// SPDX-License-Identifier: Apache-2.0
// W=0 holds for both modes and at each level, for plain stores, locked ones, user pushes, and for
// what the core itself stores on the guest's behalf.
// Attack: page tables
// Expect: exit 0
import CKit

let address = testArea + 0x6_0000_0000
let canary: UInt64 = 0xca_1a_4f

@_cdecl("guest_main")
func guestMain() {
    let frame = Frames.allocate()
    kit_store64(frame << 12, canary)
    Tables.map(vm.root_frame, address, frame)
    makeUserRoot()
    for level: UInt64 in 1...3 {
        let entry = Tables.entry(vm.root_frame, address, level: level)
        protect(entry, frame) { value in equal(update(entry, value), 0, "update") }
        protect(entry, frame) { value in kit_store64(entry, value) }
    }
    hypercallStores(frame)
}

func protect(_ entry: UInt64, _ frame: UInt64, _ write: (UInt64) -> Void) {
    let open = kit_load64(entry)
    probe(kit_probe_store, address + 8, 1).passes("kernel store, W=1")
    userProbe(kit_probe_store, address + 8, 2).passes("user store, W=1")
    write(open & ~Entry.writable)
    flush(.local)

    let refused = Fault.protection | Fault.write
    equal(probe(kit_probe_load, address).value, canary, "kernel load, W=0")
    probe(kit_probe_store, address, 1).faults(address, refused, "kernel store, W=0")
    probe(kit_probe_exchange, address, 1).faults(address, refused, "kernel xchg, W=0")
    equal(userProbe(kit_probe_load, address).value, canary, "user load, W=0")
    userProbe(kit_probe_store, address, 1).faults(address, refused | Fault.user, "user store, W=0")
    userProbe(kit_probe_exchange, address, 1).faults(address, refused | Fault.user, "user xchg, W=0")
    userProbe(kit_probe_push, address + 8, 1).faults(address, refused | Fault.user, "user push, W=0")
    equal(kit_load64(frame << 12), canary, "nothing was written")

    // The frame itself is not read-only: another mapping writes it.
    kit_store64(frame << 12 + 16, open)
    equal(kit_load64(address + 16), open, "another mapping shows through")
    write(open)
    flush(.local)
}

/// The core's own stores respect the guest's W, too.
func hypercallStores(_ frame: UInt64) {
    let entry = Tables.entry(vm.root_frame, address)
    let value = kit_load64(entry)
    equal(updateVA(address, value & ~Entry.writable, .page), 0, "protect")
    var pair = (entry, value & ~Entry.writable)
    let result = withUnsafeMutablePointer(to: &pair) {
        hypercall(PTEST_UPDATE, UInt64(UInt(bitPattern: $0)), 1, address)
    }
    equal(result, Errno.fault, "`done` in a page with W=0")
    equal(kit_load64(frame << 12), canary, "the core wrote nothing")
}
