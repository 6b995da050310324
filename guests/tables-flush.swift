// SPDX-License-Identifier: Apache-2.0
// What a flush promises, and A and D: after PTEST_FLUSH no stale translation is used, each
// kind of flush reaching as far as it says; and the guest's entries show A after any use and
// D after a write and not before, at each level, as the CPU sets them (SDM vol. 3, 4.8).
// Expect: exit 0
import CKit

let address = testArea + 0x1234_5000

@_cdecl("guest_main")
func guestMain() {
    let frames = Frames.allocate(2)
    kit_store64(frames << 12, 1)
    kit_store64((frames + 1) << 12, 2)
    accessedAndDirty(frames)
    for round: UInt64 in 0..<200 {
        staleness(frames, round)
    }
    wholeTableStaleness(frames)
}

/// The entries of levels 1...4 for the address: their A and D bits.
func bits(_ level: UInt64) -> UInt64 {
    kit_load64(Tables.entry(vm.root_frame, address, level: level)) & (Entry.accessed | Entry.dirty)
}

func clearBits() {
    for level: UInt64 in 1...3 {
        kit_and64(
            Tables.entry(vm.root_frame, address, level: level), ~(Entry.accessed | Entry.dirty))
    }
    flush(.local)
}

func accessedAndDirty(_ frames: UInt64) {
    Tables.map(vm.root_frame, address, frames)
    equal(bits(1), 0, "a fresh entry has neither A nor D")
    equal(kit_load64(address), 1, "mapped")
    for level: UInt64 in 1...4 {
        check(bits(level) & Entry.accessed != 0, "a load sets A at each level")
    }
    equal(bits(1), Entry.accessed, "a load does not set D")
    kit_store64(address, 1)
    equal(bits(1), Entry.accessed | Entry.dirty, "a store sets D")

    clearBits()
    equal(bits(1), 0, "A and D are the guest's to clear")
    equal(kit_load64(address), 1, "still mapped")
    equal(bits(1), Entry.accessed, "a load sets A again")
    check(bits(2) & bits(3) & Entry.accessed != 0, "at each level")

    clearBits()
    kit_store64(address, 1)
    equal(bits(1), Entry.accessed | Entry.dirty, "a first store sets both")

    kit_and64(Tables.entry(vm.root_frame, address), ~Entry.dirty)
    flush(.page, address)
    equal(kit_load64(address), 1, "still mapped")
    equal(bits(1), Entry.accessed, "D stays clear until a store")
    kit_store64(address, 1)
    equal(bits(1), Entry.accessed | Entry.dirty, "and comes back with it")

    equal(update(Tables.entry(vm.root_frame, address), Entry.make(frames, Entry.present)), 0, "protect")
    flush(.page, address)
    probe(kit_probe_store, address, 1)
        .faults(address, Fault.protection | Fault.write, "store, read-only")
    check(bits(1) & Entry.dirty == 0, "a refused store sets no D")
}

/// Remaps in one of four ways and looks at once.
func staleness(_ frames: UInt64, _ round: UInt64) {
    let entry = Tables.entry(vm.root_frame, address)
    let value = Entry.make(frames + round & 1, Entry.all)
    switch round / 2 % 4 {
    case 0:
        kit_store64(entry, value)
        flush(.page, address + 123)
    case 1:
        kit_store64(entry, value)
        flush(.local)
    case 2:
        equal(update(entry, value), 0, "update")
        flush(.allVCPUs)
    default:
        equal(updateVA(address, value, .pageAllVCPUs), 0, "update by address")
    }
    equal(kit_load64(address), round & 1 + 1, "no stale translation")
}

/// 128 pages of four tables remapped, then one flush for all.
func wholeTableStaleness(_ frames: UInt64) {
    let base = testArea + 0x8000_0000
    func page(_ index: UInt64) -> UInt64 { base + (index & 3) << 21 + (index >> 2) << 12 }
    for index: UInt64 in 0..<128 {
        Tables.map(vm.root_frame, page(index), frames)
        equal(kit_load64(page(index)), 1, "mapped")
    }
    for index: UInt64 in 0..<128 {
        kit_store64(Tables.entry(vm.root_frame, page(index)), Entry.make(frames + 1, Entry.all))
    }
    flush(.local)
    for index: UInt64 in 0..<128 {
        equal(kit_load64(page(index)), 2, "no stale translation among many")
    }
}
