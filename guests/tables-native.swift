// SPDX-License-Identifier: Apache-2.0
// Page tables changed by plain instructions: mov, xchg, lock and, lock bts on table pages of
// each level, as kernels do that do not know they are deprivileged. After the flush that
// hardware would need, too, the old translation is gone and the new one there.
// Expect: exit 0
import CKit

let address = testArea + 0x3_2000_0000

@_cdecl("guest_main")
func guestMain() {
    let pages = [1, 2, 3] as InlineArray<3, UInt64>
    let frames = Frames.allocate(3)
    for index in 0..<3 {
        kit_store64((frames + UInt64(index)) << 12, pages[index])
    }
    levelOne(frames)
    for level: UInt64 in 2...4 {
        upperLevel(level, frames)
    }
    manyEntries(frames)
    readOnlyTable(frames)
}

func sees(_ mark: UInt64, _ message: StaticString) {
    let seen = probe(kit_probe_load, address)
    seen.passes(message)
    equal(seen.value, mark, message)
}

func levelOne(_ frames: UInt64) {
    Tables.map(vm.root_frame, address, frames)
    let entry = Tables.entry(vm.root_frame, address)
    sees(1, "before any native write")

    kit_store64(entry, Entry.make(frames + 1, Entry.all))
    flush(.page, address)
    sees(2, "mov to a level-1 entry")

    let old = kit_exchange64(entry, 0)
    equal(Entry.frame(old), frames + 1, "xchg returns the entry")
    check(old & Entry.accessed != 0, "with A, which the load set")
    flush(.page, address)
    probe(kit_probe_load, address).faults(address, 0, "xchg with 0 unmaps")

    // Absent to present needs no flush: hardware caches no absent entry.
    kit_store64(entry, Entry.make(frames + 2, Entry.all))
    sees(3, "mov of a present entry over an absent one")

    probe(kit_probe_store, address + 8, 1).passes("writable")
    kit_and64(entry, ~Entry.writable)
    flush(.page, address)
    probe(kit_probe_store, address + 8, 2)
        .faults(address + 8, Fault.protection | Fault.write, "lock and takes W away")
    check(!kit_set_bit(entry, 1), "lock bts sees W clear")
    probe(kit_probe_store, address + 8, 2).passes("and gives it back")

    check(kit_set_bit(entry, 0), "lock bts sees P set")
    kit_store64(entry, Entry.make(frames + 2, Entry.all | Entry.noExecute))
    flush(.local)
    probe(kit_probe_jump, address).fetchFaults(address, Fault.protection | Fault.fetch, "mov sets NX")
    kit_store64(entry, 0)
    flush(.page, address)
}

/// Swings one entry of `level` between two subtrees, and takes it away.
func upperLevel(_ level: UInt64, _ frames: UInt64) {
    Tables.map(vm.root_frame, address, frames)
    let slot = Tables.entry(vm.root_frame, address, level: level)
    let original = kit_load64(slot)
    sees(1, "original subtree")

    kit_store64(slot, Entry.make(makeSubtree(level - 1, frames + 1), Entry.all))
    flush(.local)
    sees(2, "mov to an upper-level entry")

    equal(Entry.frame(kit_exchange64(slot, original)), Frames.last, "xchg returns it")
    flush(.local)
    sees(1, "xchg brings the original back")

    kit_and64(slot, ~Entry.writable)
    flush(.local)
    probe(kit_probe_store, address, 1)
        .faults(address, Fault.protection | Fault.write, "lock and on an upper level")
    check(!kit_set_bit(slot, 1), "lock bts sees W clear")
    probe(kit_probe_store, address, 1).passes("and gives it back")

    kit_store64(slot, 0)
    flush(.local)
    probe(kit_probe_load, address).faults(address, 0, "mov of 0 to an upper-level entry")
    kit_store64(slot, original)
    sees(1, "and back without a flush")
}

/// Tables from `level` down that map `address` to `frame`; answers the uppermost.
func makeSubtree(_ level: UInt64, _ frame: UInt64) -> UInt64 {
    var child = frame
    for current in 1...level {
        let table = Frames.allocate()
        kit_store64(table << 12 + Tables.index(address, current) * 8, Entry.make(child, Entry.all))
        child = table
    }
    return child
}

/// All 512 entries of a live table rewritten before one flush.
func manyEntries(_ frames: UInt64) {
    let base = address & ~0x1f_ffff
    for page: UInt64 in 0..<512 {
        Tables.map(vm.root_frame, base + page << 12, frames)
        equal(kit_load64(base + page << 12), 1, "mapped")
    }
    let table = Tables.entry(vm.root_frame, base)
    for page: UInt64 in 0..<512 {
        kit_store64(table + page * 8, page & 1 == 0 ? Entry.make(frames + 1, Entry.all) : 0)
    }
    flush(.local)
    for page: UInt64 in 0..<512 {
        let seen = probe(kit_probe_load, base + page << 12)
        if page & 1 == 0 {
            equal(seen.value, 2, "rewritten entry")
        } else {
            seen.faults(base + page << 12, 0, "cleared entry")
        }
    }
}

/// A table page that is mapped read-only is written through the map that is not.
func readOnlyTable(_ frames: UInt64) {
    let table = Entry.frame(kit_load64(Tables.entry(vm.root_frame, address, level: 2)))
    let window = testArea + 0x5_0000_0000
    Tables.map(vm.root_frame, window, table, Entry.present | Entry.user)
    probe(kit_probe_load, window).passes("table pages can be read")
    let slot = Tables.index(address, 1) * 8
    kit_store64(table << 12 + slot, Entry.make(frames + 2, Entry.all))
    flush(.page, address)
    sees(3, "written through the identity map")
    equal(Entry.frame(kit_load64(window + slot)), frames + 2, "seen through the read-only one")
}
