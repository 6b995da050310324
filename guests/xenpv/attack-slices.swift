// SPDX-License-Identifier: Apache-2.0
// A list of operations, each of which takes hundreds of entries from the shadows: 64 tables dropped at
// once, their 32,768 entries in reverse lists of 1024, out of order. The core must let interrupts in
// between, and lose none of them.
// Attack: time
// Expect: exit 0
import XenKit

/// Frames: level-1 tables, the tables above them, and a page for each two tables.
private let tables = Arena.first
private let tableCount: UInt64 = 64
private let level3 = Arena.first + 64
private let pages = Arena.first + 66
private let slot: UInt64 = 5

/// Accessed and dirty, as after use: such an entry is shadowed when it is stored.
private let tableEntry: UInt64 = Entry.all | 0x60
private let pageEntry: UInt64 = Entry.present | Entry.user | 0x60

func guestMain() {
    build()
    var pair: UInt64 = 0
    while pair < tableCount / 2 {
        fill(pair)
        pair += 1
    }
    dropAll()
}

/// The tables, each with a first entry and a shadow.
private func build() {
    store(entry: (level3 + 1) << 12 | tableEntry, frame: level3, slot: 0)
    store(entry: level3 << 12 | tableEntry, frame: Domain.root, slot: slot)
    var index: UInt64 = 0
    while index < tableCount {
        store(entry: (tables + index) << 12 | tableEntry, frame: level3 + 1, slot: index)
        store(entry: (pages + index >> 1) << 12 | pageEntry, frame: tables + index, slot: 0)
        _ = kit_load64(slot << 39 | index << 21)
        index += 1
    }
}

/// All entries of two tables name one page, in an order that puts neighbours far apart in its list.
private func fill(_ pair: UInt64) {
    let requests = xenpv_scratch_address()
    var step: UInt64 = 0
    while step < 1024 {
        var inCall: UInt64 = 0
        while inCall < 64 {
            let place = (step + inCall) &* 611 & 1023
            let table = tables + pair << 1 + place & 1
            kit_store64(requests + inCall << 4, table << 12 | (place >> 1) << 3)
            kit_store64(requests + inCall << 4 + 8, (pages + pair) << 12 | pageEntry)
            inCall += 1
        }
        check(call(Call.mmuUpdate, requests, 64, 0, domainSelf) == 0, "64 entries")
        step += 64
    }
}

private func dropAll() {
    let operations = xenpv_scratch_address()
    let done = operations + 0x3000
    var index: UInt64 = 0
    while index < tableCount {
        kit_store64(operations + index &* 24, Extended.unpin)
        kit_store64(operations + index &* 24 + 8, tables + index)
        index += 1
    }
    let began = Clock.now
    check(call(Call.mmuExtended, operations, tableCount, done, domainSelf) == 0, "all dropped")
    check(UInt64(kit_load32(done)) == tableCount, "and counted")
    put("dropped in ")
    put(decimal: (Clock.now - began) / 1000)
    put(" us\n")
    check(kit_load64(slot << 39) == 0, "and back on demand")
}
