// SPDX-License-Identifier: Apache-2.0
// NX at each level keeps both modes from executing, not from reading; the same frame stays
// executable through another mapping.
// Attack: page tables
// Expect: exit 0
import CKit

let address = testArea + 0x9_8765_4000
let alias = testArea + 0x1_2000

@_cdecl("guest_main")
func guestMain() {
    let frame = Frames.allocate()
    kit_store64(frame << 12, 0xe3ff)
    Tables.map(vm.root_frame, address, frame)
    Tables.map(vm.root_frame, alias, frame)
    makeUserRoot()
    for level: UInt64 in 1...3 {
        // Level 3's entry must not cover the alias as well: another gigabyte.
        check(Tables.index(address, 3) != Tables.index(alias, 3), "the alias is apart")
        let entry = Tables.entry(vm.root_frame, address, level: level)
        forbid(entry) { value in equal(update(entry, value), 0, "update") }
        forbid(entry) { value in kit_store64(entry, value) }
    }
    byDefaultEverywhere()
}

func forbid(_ entry: UInt64, _ write: (UInt64) -> Void) {
    let open = kit_load64(entry)
    executes(address)
    write(open | Entry.noExecute)
    flush(.local)
    let refused = Fault.protection | Fault.fetch
    probe(kit_probe_jump, address).fetchFaults(address, refused, "kernel fetch, NX")
    userProbe(kit_probe_jump, address).fetchFaults(address, refused | Fault.user, "user fetch, NX")
    equal(probe(kit_probe_load, address).value, 0xe3ff, "kernel load, NX")
    equal(userProbe(kit_probe_load, address).value, 0xe3ff, "user load, NX")
    probe(kit_probe_store, address + 8, 1).passes("kernel store, NX")
    executes(alias)
    write(open)
    flush(.local)
    executes(address)
}

func executes(_ where: UInt64) {
    probe(kit_probe_jump, `where`).passes("kernel fetch")
    userProbe(kit_probe_jump, `where`).passes("user fetch")
}

/// A page that was never touched before its first fetch.
func byDefaultEverywhere() {
    for page: UInt64 in 0..<16 {
        let here = address + 0x10_0000 + page << 12
        let frame = Frames.allocate()
        kit_store64(frame << 12, 0xe3ff)
        let flags = page & 1 == 0 ? Entry.all : Entry.all | Entry.noExecute
        kit_store64(Tables.entry(vm.root_frame, here), Entry.make(frame, flags))
        let first = userProbe(kit_probe_jump, here)
        if page & 1 == 0 {
            first.passes("first touch is a fetch")
        } else {
            first.fetchFaults(here, Fault.protection | Fault.fetch | Fault.user, "first touch, NX")
        }
    }
}
