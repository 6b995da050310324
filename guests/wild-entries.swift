// SPDX-License-Identifier: Apache-2.0
// Page-table entries that name what is not the guest's: frames beyond its RAM, reserved bits,
// large pages; at each level, by hypercall and by plain stores. An access faults and never
// finds data. A root that maps itself shows the guest's own tables, never the shadow's.
// Attack: page tables
// Expect: exit 0
import CKit

let address = testArea + 0x11_1111_1000

@_cdecl("guest_main")
func guestMain() {
    Tables.map(vm.root_frame, address, Frames.allocate())
    makeUserRoot()
    let frames =
        [
            vm.ram_frames + 1_048_576, 1 << 24, 1 << 28, 0xf_ffff_ffff, 0xff_ffff_ffff,
        ] as InlineArray<5, UInt64>
    for level: UInt64 in 1...3 {
        let entry = Tables.entry(vm.root_frame, address, level: level)
        let original = kit_load64(entry)
        for index in frames.indices {
            let value = frames[index] << 12 | Entry.all
            update(entry, value)
            flush(.local)
            refused(entry, value)
            kit_store64(entry, value)
            flush(.local)
            refused(entry, value)
        }
        kit_store64(entry, original)
        flush(.local)
        equal(kit_load64(address), 0, "and back to what it was")
    }
    recursive()
}

func refused(_ entry: UInt64, _ value: UInt64) {
    guard kit_load64(entry) & Entry.addressMask == value & Entry.addressMask else { return }
    let load = probe(kit_probe_load, address)
    check(load.trap.taken == 1 && load.trap.vector == 14, "load through a wild entry")
    equal(load.trap.cr2, address, "CR2")
    let store = userProbe(kit_probe_store, address, 1)
    check(store.trap.taken == 1 && store.trap.vector == 14, "user store through a wild entry")
}

/// Slot 300 of the root maps the root: the tables appear as pages.
func recursive() {
    let slot: UInt64 = 300
    let entry = vm.root_frame << 12 + slot * 8
    equal(update(entry, Entry.make(vm.root_frame, Entry.all)), 0, "a root in itself")
    let base = 0xffff_0000_0000_0000 | slot << 39
    let rootView = base | slot << 30 | slot << 21 | slot << 12
    equal(
        kit_load64(rootView + slot * 8) & Entry.addressMask, vm.root_frame << 12,
        "the root's view of itself")
    for index: UInt64 in 0..<512 where index < 256 || index > 271 {
        let bits = ~(Entry.accessed | Entry.dirty)
        equal(
            kit_load64(rootView + index * 8) & bits, kit_load64(vm.root_frame << 12 + index * 8) & bits,
            "entries as the guest wrote them")
    }
    equal(kit_load64(rootView + 261 * 8), 0, "the core's slot does not show")
    equal(update(entry, 0), 0, "and out again")
    flush(.local)
    probe(kit_probe_load, rootView).faults(rootView, 0, "gone")
}
