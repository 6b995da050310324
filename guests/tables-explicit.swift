// SPDX-License-Identifier: Apache-2.0
// Page tables changed by hypercall: map, remap, protect, forbid execution, unmap, by
// PTEST_UPDATE and by PTEST_UPDATE_VA; what must fault does, with exact CR2 and error code
// for each mode, and what must not does not.
// Expect: exit 0
import CKit

/// Two pages to map, told apart by their first word; both also hold `jmpq *%rbx` at 8.
struct Pages {
    let first = Frames.allocate()
    let second = Frames.allocate()

    init() {
        prepare(first, 1)
        prepare(second, 2)
    }

    private func prepare(_ frame: UInt64, _ mark: UInt64) {
        kit_store64(frame << 12, mark)
        kit_store64(frame << 12 + 8, 0xe3ff)
    }
}

struct Case {
    let address: UInt64
    let entry: UInt64
    let byAddress: Bool
    /// Runs the probes in one mode, and this is the U bit that its faults carry.
    let user: Bool
    var bit: UInt64 { user ? Fault.user : 0 }

    func set(_ value: UInt64) {
        let result = byAddress ? updateVA(address, value, .page) : update(entry, value)
        equal(result, 0, "write an entry")
        if !byAddress {
            flush(.page, address)
        }
    }

    func run(_ instruction: kit_probe, _ a: UInt64, _ b: UInt64 = 0) -> Probe {
        user ? userProbe(instruction, a, b) : probe(instruction, a, b)
    }

    func isAbsent() {
        run(kit_probe_load, address).faults(address, bit, "load, absent")
        run(kit_probe_store, address + 16, 5).faults(address + 16, bit | Fault.write, "store, absent")
        run(kit_probe_exchange, address, 5).faultsLocked(address, bit, "xchg, absent")
        run(kit_probe_jump, address + 8).fetchFaults(address + 8, bit | Fault.fetch, "fetch, absent")
    }

    func shows(_ mark: UInt64) {
        let seen = run(kit_probe_load, address)
        seen.passes("load, present")
        equal(seen.value, mark, "the page that is mapped")
    }
}

func exercise(_ pages: Pages, _ test: Case) {
    test.isAbsent()
    test.set(Entry.make(pages.first, Entry.all))
    test.shows(1)
    test.run(kit_probe_store, test.address + 16, 5).passes("store, writable")
    equal(kit_load64(pages.first << 12 + 16), 5, "the store reached the frame")
    test.run(kit_probe_jump, test.address + 8).passes("fetch, executable")

    test.set(Entry.make(pages.second, Entry.all))
    test.shows(2)

    let protection = test.bit | Fault.protection
    test.set(Entry.make(pages.second, Entry.present | Entry.user))
    test.shows(2)
    test.run(kit_probe_store, test.address + 24, 6)
        .faults(test.address + 24, protection | Fault.write, "store, read-only")
    equal(kit_load64(pages.second << 12 + 24), 0, "a refused store wrote nothing")

    test.set(Entry.make(pages.second, Entry.all | Entry.noExecute))
    test.shows(2)
    test.run(kit_probe_jump, test.address + 8)
        .fetchFaults(test.address + 8, protection | Fault.fetch, "fetch, not executable")
    test.run(kit_probe_store, test.address + 24, 0).passes("store, writable again")

    test.set(0)
    test.isAbsent()
}

/// A level-2 entry that goes takes all below it along.
func unlinksTable(_ pages: Pages) {
    let address = testArea + 0x7000_0000
    Tables.map(vm.root_frame, address, pages.first)
    Tables.map(vm.root_frame, address + pageSize, pages.second)
    let upper = Tables.entry(vm.root_frame, address, level: 2)
    equal(probe(kit_probe_load, address).value, 1, "mapped below a fresh table")
    equal(probe(kit_probe_load, address + pageSize).value, 2, "and its neighbour")
    let table = kit_load64(upper)
    equal(update(upper, 0), 0, "unlink a level-1 table")
    flush(.local)
    probe(kit_probe_load, address).faults(address, 0, "below an unlinked table")
    probe(kit_probe_load, address + pageSize).faults(address + pageSize, 0, "its neighbour")
    equal(update(upper, table), 0, "link it again")
    equal(probe(kit_probe_load, address).value, 1, "linked again")
    equal(update(upper, table & ~Entry.writable), 0, "read-only at level 2")
    flush(.local)
    probe(kit_probe_store, address, 1)
        .faults(address, Fault.protection | Fault.write, "W is the and of all levels")
}

@_cdecl("guest_main")
func guestMain() {
    let pages = Pages()
    // The lower half is shared with user mode's root from here on.
    let address = testArea + 0x12_3456_7000
    let entry = Tables.entry(vm.root_frame, address)
    makeUserRoot()
    for index in 0..<4 {
        exercise(
            pages, Case(address: address, entry: entry, byAddress: index & 1 != 0, user: index & 2 != 0))
    }
    let upper = Tables.entry(vm.root_frame, upperTestArea)
    exercise(pages, Case(address: upperTestArea, entry: upper, byAddress: false, user: false))
    unlinksTable(pages)
    refuses()
}

/// Entries that are none of the guest's.
func refuses() {
    equal(update(vm.ram_frames << 12, 0), Errno.invalid, "entry beyond RAM")
    equal(update(0xffff_ffff_ffff_f000, 0), Errno.invalid, "entry far beyond RAM")
    equal(updateVA(testArea + 0x40_0000_0000, 0), Errno.invalid, "address without a level-1 table")
    equal(updateVA(kit_core_image, 0), Errno.invalid, "address in the hole")
}
