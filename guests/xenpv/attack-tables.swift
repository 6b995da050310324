// SPDX-License-Identifier: Apache-2.0
// Entries of each level that name frames outside the VM, the core's, large pages, their own table,
// a table of another level, or the root in use; by mmu_update and by plain stores.
// Attack: page tables
// Source: XSA-148, XSA-182, XSA-286
// Expect: exit 0
import XenKit

/// Frames of the arena: one table of each level, and the page that they lead to.
private enum Path {
    static let slot: UInt64 = 5
    static let address = slot << 39
    static let page = Arena.first
    static let marker: UInt64 = 0x6d61_726b_6572

    /// The table that holds the entry of that level; level 4 is the loader's root.
    static func table(_ level: UInt64) -> UInt64 { level == 4 ? Domain.root : Arena.first + level }
    static func slot(_ level: UInt64) -> UInt64 { level == 4 ? slot : 0 }
    static func entry(_ level: UInt64) -> UInt64 { (Arena.first + level - 1) << 12 | Entry.all }

    static func build() {
        kit_store64(page << 12, marker)
        var level: UInt64 = 1
        while level <= 4 {
            restore(level)
            level += 1
        }
        isWhole()
    }

    static func restore(_ level: UInt64) {
        check(store(entry: entry(level), frame: table(level), slot: slot(level)) == 0, "a good entry")
        flush()
    }

    static func isWhole() { check(kit_load64(address) == marker, "the path leads to its page") }
}

private func flush() { check(extended(Extended.flush) == 0, "a flush") }

func guestMain() {
    Arena.open()
    Path.build()
    eachLevel { badFrames($0) }
    eachLevel { coreFrames($0) }
    largePages()
    machineMap()
    recursion()
    everyLevelAtOnce()
    rootInUse()
    commands()
    Path.isWhole()
}

private func eachLevel(_ attack: (UInt64) -> Void) {
    var level: UInt64 = 1
    while level <= 4 {
        attack(level)
        Path.restore(level)
        Path.isWhole()
        level += 1
    }
}

/// No access goes through an entry like this, however it came into the table.
private func leadsNowhere(_ entry: UInt64, _ level: UInt64, _ message: StaticString) {
    let result = store(entry: entry, frame: Path.table(level), slot: Path.slot(level))
    check(result == 0 || result == Refused.invalid, message)
    flush()
    if result == 0 { faults(message) }
    guard level < 4 else { return }
    _ = xenpv_try_store(Path.table(level) << 12, entry)
    flush()
    faults(message)
}

private func faults(_ message: StaticString) {
    check(xenpv_try_load(Path.address) == 1, message)
    check(xenpv_try_store(Path.address, 0) == 1, message)
}

private func badFrames(_ level: UInt64) {
    let end = Domain.frames + UInt64(xenpv_special_frames(UInt32(Domain.frames)))
    leadsNowhere(end << 12 | Entry.all, level, "the first frame behind the VM's")
    var bits: UInt64 = 20
    while bits < 40 {
        leadsNowhere(1 << (bits + 12) | Entry.all, level, "a frame far outside")
        bits += 1
    }
    leadsNowhere(Entry.addressMask | Entry.all, level, "the last frame that an entry can name")
    leadsNowhere(1 << 44 | Path.page << 12 | Entry.all, level, "a good number with a bit beyond 32")
}

/// shared_info is the core's to write to, and the map read-only: neither can be a table.
private func coreFrames(_ level: UInt64) {
    guard level > 1 else { return }
    let map = UInt64(xenpv_m2p_frame(UInt32(Domain.frames)))
    leadsNowhere(Domain.shared << 12 | Entry.all, level, "shared_info as a table")
    leadsNowhere(map << 12 | Entry.all, level, "the machine-to-physical map as a table")
}

/// XSA-148: PSE in a level-2 entry, which a fast path took for a mere change of flags, made 2 MiB of
/// foreign frames writable.
private func largePages() {
    let large: UInt64 = 1 << 7
    var level: UInt64 = 2
    while level <= 4 {
        leadsNowhere(Path.entry(level) | large, level, "a large page")
        leadsNowhere(large | Entry.all, level, "a large page at 0")
        Path.restore(level)
        // The change of flags alone: present and used before.
        Path.isWhole()
        store(entry: Path.entry(level) | 0x60 | large, frame: Path.table(level), slot: Path.slot(level))
        flush()
        faults("PSE added to a used entry")
        Path.restore(level)
        level += 1
    }
    Path.isWhole()
}

private func machineMap() {
    let map = UInt64(xenpv_m2p_frame(UInt32(Domain.frames)))
    let start = UInt64(XENPV_M2P_START)
    check(kit_load64(start + 8 * 77) == 77, "the map is there")
    check(xenpv_try_store(start, 0) == 1, "and read-only where the core mapped it")
    check(store(entry: map << 12 | Entry.all, frame: Path.table(1), slot: 0) == 0, "mapped once more")
    flush()
    check(xenpv_try_load(Path.address) == 0, "readable")
    check(xenpv_try_store(Path.address, 1) == 1, "read-only, whatever the entry says")
    check(xenpv_try_exchange(Path.address, 1) == 1, "the same for an exchange")
    check(kit_load64(start) == 0, "as it was")
    // Its tables are the guest's: spoiled, they show nothing that the guest has not.
    let table = UInt64(xenpv_m2p_tables_frame(UInt32(Domain.frames)))
    let old: UInt64 = (table + 1) << 12 | 0x23
    store(entry: 1 << 40 | Entry.all, frame: table, slot: 0)
    flush()
    check(xenpv_try_load(start) == 1, "a map that leads nowhere")
    store(entry: table << 12 | Entry.all, frame: table, slot: 0)
    flush()
    _ = xenpv_try_store(start, 0)
    store(entry: old, frame: table, slot: 0)
    Path.restore(1)
    check(kit_load64(start + 8 * 77) == 77, "the map is back")
}

/// XSA-182, XSA-286: a root that maps itself, read-only and then writable. The guest sees its own words,
/// never a shadow's, and what it stores in the core's slots has no effect.
private func recursion() {
    let slot: UInt64 = 6
    let view = slot << 39 | slot << 30 | slot << 21 | slot << 12
    store(entry: Domain.root << 12 | Entry.present | Entry.user, frame: Domain.root, slot: slot)
    check(kit_load64(view + slot << 3) & Entry.addressMask == Domain.root << 12, "its view of itself")
    store(entry: Domain.root << 12 | Entry.all, frame: Domain.root, slot: slot)
    var hole: UInt64 = 257
    while hole < 272 {
        _ = xenpv_try_store(view + hole << 3, Path.page << 12 | Entry.all)
        flush()
        check(xenpv_try_load(0xffff_0000_0000_0000 | hole << 39) == 1, "no entry of the hole counts")
        check(xenpv_try_store(view + hole << 3, 0) == 0, "its own word")
        hole += 1
    }
    check(kit_load64(view + 261 << 3) == 0, "the core's entry does not show")
    // A mapping made and taken away through the view.
    check(xenpv_try_store(view + 7 << 3, Path.entry(4)) == 0, "an entry by the view")
    flush()
    check(kit_load64(7 << 39) == Path.marker, "it maps")
    check(xenpv_try_store(view + 7 << 3, 0) == 0, "and goes")
    flush()
    check(xenpv_try_load(7 << 39) == 1, "at once")
    store(entry: 0, frame: Domain.root, slot: slot)
    flush()
    check(xenpv_try_load(view) == 1, "no view any more")
    loops()
}

/// A table of level 3 that is its own level 2, level 1 and page: stores through it change the way to it.
private func loops() {
    let frame = Arena.first + 8
    let entry = frame << 12 | Entry.all
    store(entry: entry, frame: frame, slot: 0)
    store(entry: entry, frame: Domain.root, slot: 7)
    flush()
    check(kit_load64(7 << 39) & Entry.addressMask == frame << 12, "it reads its own entry")
    var round: UInt64 = 0
    while round < 50 {
        _ = xenpv_try_store(7 << 39, round & 1 == 0 ? Path.page << 12 | Entry.all : 1 << 40 | Entry.all)
        _ = xenpv_try_load(7 << 39)
        flush()
        _ = xenpv_try_load(7 << 39)
        store(entry: entry, frame: frame, slot: 0)
        flush()
        check(kit_load64(7 << 39) & Entry.addressMask == frame << 12, "and again")
        round += 1
    }
    store(entry: 0, frame: Domain.root, slot: 7)
    store(entry: 0, frame: frame, slot: 0)
    flush()
}

/// One frame as root, level 3, 2, 1 and page, in use by the processor meanwhile.
private func everyLevelAtOnce() {
    let frame = Arena.first + 9
    check(store(entry: kit_load64(Domain.root << 12), frame: frame, slot: 0) == 0, "the kernel")
    check(store(entry: Path.entry(4), frame: frame, slot: Path.slot) == 0, "the path")
    check(store(entry: frame << 12 | Entry.all, frame: frame, slot: 8) == 0, "itself")
    var level: UInt64 = Extended.pinLevel1
    while level <= Extended.pinLevel4 {
        check(extended(level, frame) == 0, "pinned at each level")
        level += 1
    }
    check(extended(Extended.loadRoot, frame) == 0, "as root")
    check(extended(Extended.loadUserRoot, frame) == 0, "as user root")
    Path.isWhole()
    check(kit_load64(8 << 39 | 8 << 30 | 8 << 21 | 8 << 12) != 0, "as page")
    check(extended(Extended.unpin, frame) == 0, "no table any more, and still the root")
    Path.isWhole()
    check(xenpv_try_store(frame << 12 + 9 << 3, Path.entry(4)) == 0, "a store to the root in use")
    flush()
    check(kit_load64(9 << 39) == Path.marker, "counts after the flush")
    check(extended(Extended.loadRoot, Domain.root) == 0, "the loader's root")
    check(extended(Extended.loadUserRoot, 0) == 0, "no user root")
}

/// The root in use given up in every way there is.
private func rootInUse() {
    let list = xenpv_scratch_address()
    kit_store64(list + 0x100, Domain.root)
    kit_store64(list, list + 0x100)
    kit_store64(list + 8, 1)
    kit_store64(list + 16, 0)
    kit_store64(list + 24, domainSelf)
    check(call(Call.memory, 1, list) == 1, "ballooned out")
    check(call(Call.memory, 6, list) == 1, "and in")
    check(extended(Extended.unpin, Domain.root) == 0, "unpinned")
    Path.isWhole()
    check(extended(Extended.loadRoot, Domain.shared) == Refused.invalid, "shared_info as root")
    check(extended(Extended.loadRoot, 1 << 32 | Domain.root) == Refused.invalid, "a root beyond 32 bits")
    check(extended(Extended.loadUserRoot, Domain.shared) == Refused.invalid, "shared_info as user root")
}

/// Commands of mmu_update that do not exist, addresses that are none, and domains that are others.
private func commands() {
    let request = xenpv_scratch_address()
    var command: UInt64 = 3
    while command < 8 {
        kit_store64(request, Path.table(1) << 12 | command)
        kit_store64(request + 8, 0)
        check(call(Call.mmuUpdate, request, 1, 0, domainSelf) == Refused.invalid, "a command")
        command += 1
    }
    var bit: UInt64 = 26
    while bit < 64 {
        kit_store64(request, 1 << bit | Path.table(1) << 12)
        check(call(Call.mmuUpdate, request, 1, 0, domainSelf) == Refused.invalid, "a place outside")
        bit += 1
    }
    for domain in 0..<16 as Range<UInt64> where domain != 0 {
        check(
            call(Call.mmuUpdate, request, 1, 0, 0x7ff0 + domain) == Refused.notPermitted, "another's domain")
    }
    Path.isWhole()
}
