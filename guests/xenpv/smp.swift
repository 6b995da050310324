// SPDX-License-Identifier: Apache-2.0
// A second vCPU: wild contexts are refused, a second one too, and a vCPU cannot have one for itself.
// It is taken down while it runs, goes down by itself, and goes on where it was. It takes away
// descriptors that the first one loads. Both then change the same table at once, by calls and by
// plain stores, with and without flushes: what one reads is always what it mapped itself, or, where
// both fight, one of the two.
// Expect: exit 0
// Needs: cpus=2
import XenKit

/// Frames: data, each with its own number in the first word; the table that both change; its own.
private let data: UInt64 = 2048
private let dataFrames: UInt64 = 32
private let table: UInt64 = 2300
private let tableMap: UInt64 = 2301
/// Where the table's entries lead, and where it and the data are seen: 2 MiB each.
private let window: UInt64 = 0x4000_0000
private let view: UInt64 = 0x4020_0000
private let tables: UInt64 = 2310

/// Words that both look at, in the scratch area: how far the other counted, and what it is at.
private var counter: UInt64 { xenpv_scratch_address() + 0x3000 }
private var phase: UInt64 { xenpv_scratch_address() + 0x3008 }

func guestMain() {
    contexts()
    secondaryMain = { number in
        while kit_load64(phase) == 0 { _ = kit_add64(counter, 1) }
        for _ in 0..<100 as Range<Int> {
            check(call(Call.vcpu, 2, number) == 0, "down by itself")
            _ = kit_add64(counter, 1)
        }
        kit_store64(phase, 2)
        changeDescriptors()
        fight(number)
        kit_store64(phase, 4)
        while true { call(Call.vcpu, 2, number) }
    }
    check(call(Call.vcpu, 1, 1) == 0, "up")
    for _ in 0..<100 as Range<Int> { downAndUp() }
    bringUpAgain()
    loadDescriptors()
    makeTables()
    kit_store64(phase, 3)
    fight(0)
    while kit_load64(phase) != 4 { kit_pause() }
    while call(Call.vcpu, 3, 1) != 0 { kit_pause() }
    put("PASS\n")
    // The last one that is up: the VM powers off.
    call(Call.vcpu, 2, 0)
    fail("the last vCPU is down and runs")
}

// MARK: - Contexts

private func contexts() {
    let scratch = xenpv_scratch_address()
    let hole: UInt64 = 0xffff_8080_0000_0000
    check(call(Call.vcpu, 1, 1) == -22, "up without a context")
    GuestContext.prepare(0)
    check(call(Call.vcpu, 0, 0, scratch) == -17, "a context for itself")
    check(call(Call.vcpu, 0, 2, scratch) == -2, "a context for nobody")
    refuse(GuestContext.rip, hole)
    refuse(GuestContext.rip, 1 << 47)
    refuse(GuestContext.traps + 14 * 16 + 8, hole)
    refuse(GuestContext.localCount, 1)
    refuse(GuestContext.descriptors, Domain.frames)
    refuse(GuestContext.descriptors, 0xffff_ffff)
    refuse(GuestContext.descriptorCount, 513)
    refuse(GuestContext.kernelStack, hole)
    refuse(GuestContext.root, Domain.shared << 12)
    refuse(GuestContext.root, 1 << 52)
    refuse(GuestContext.event, hole)
    refuse(GuestContext.kernelGSBase, 1 << 63)
    check(call(Call.vcpu, 0, 1, hole) == -14, "a context in the hole")
    GuestContext.prepare(1)
    check(call(Call.vcpu, 0, 1, scratch) == 0, "a context")
    check(call(Call.vcpu, 0, 1, scratch) == -17, "a second one")
}

private func refuse(_ offset: UInt64, _ value: UInt64) {
    GuestContext.prepare(1)
    GuestContext[offset] = value
    check(call(Call.vcpu, 0, 1, xenpv_scratch_address()) == -22, "a wild context")
}

// MARK: - Down and up

private func downAndUp() {
    let before = kit_load64(counter)
    while kit_load64(counter) == before { kit_pause() }
    check(call(Call.vcpu, 2, 1) == 0 && call(Call.vcpu, 3, 1) == 0, "down")
    check(comesToRest(), "it runs on")
    check(call(Call.vcpu, 1, 1) == 0 && call(Call.vcpu, 3, 1) == 1, "up again")
}

/// Whether the other counts no more. It leaves its guest at the kick's interrupt, which an emulated CPU takes
/// late when the computer is busy.
private func comesToRest() -> Bool {
    var seen = kit_load64(counter)
    var looks = 0
    for _ in 0..<20_000 as Range<Int> {
        wait(100_000)
        let now = kit_load64(counter)
        looks = now == seen ? looks + 1 : 0
        seen = now
        if looks == 4 { return true }
    }
    return false
}

private func wait(_ nanoseconds: UInt64) {
    let end = Clock.now + nanoseconds
    while Clock.now < end { kit_pause() }
}

/// For as long as it takes itself down.
private func bringUpAgain() {
    kit_store64(phase, 1)
    while kit_load64(phase) != 2 { call(Call.vcpu, 1, 1) }
}

// MARK: - Descriptors

private let descriptors: UInt64 = 2400
private let descriptor: UInt64 = 13
/// Data, 32 bits, for privilege level 3.
private let dataDescriptor: UInt64 = 0x00cf_f300_0000_ffff

/// Loads GS of user mode from a descriptor that comes and goes.
private func loadDescriptors() {
    kit_store64(xenpv_scratch_address(), descriptors)
    check(call(Call.setGDT, xenpv_scratch_address(), 16) == 0, "a GDT")
    kit_store64(phase, 5)
    for _ in 0..<20_000 as Range<Int> {
        check(call(Call.setSegmentBase, 3, descriptor << 3 | 3) == 0, "GS of user mode")
    }
    kit_store64(phase, 2)
}

private func changeDescriptors() {
    let place = descriptors << 12 | descriptor << 3
    while true {
        switch kit_load64(phase) {
        case 2: kit_pause()
        case 5:
            check(call(Call.updateDescriptor, place, dataDescriptor) == 0, "a descriptor that is there")
            check(call(Call.updateDescriptor, place, 0) == 0, "and is not")
        default: return
        }
    }
}

// MARK: - Tables

/// The loader's tables, mapped at their own addresses, lead to two tables more.
private func makeTables() {
    let top = entry(Domain.root, 0) & Entry.addressMask
    check(store(entry: tables << 12 | Entry.all, frame: top >> 12, slot: 1) == 0, "level 2")
    check(store(entry: table << 12 | Entry.all, frame: tables, slot: 0) == 0, "the window")
    check(store(entry: tableMap << 12 | Entry.all, frame: tables, slot: 1) == 0, "the view")
    for index in 0..<dataFrames as Range<UInt64> {
        let entry = (data + index) << 12 | Entry.all
        check(store(entry: entry, frame: tableMap, slot: index) == 0, "a frame's view")
        kit_store64(view + index << 12, index)
    }
    check(store(entry: table << 12 | Entry.all, frame: tableMap, slot: 511) == 0, "the table's view")
}

private func entry(_ table: UInt64, _ slot: UInt64) -> UInt64 { kit_load64(table << 12 + slot << 3) }

private struct Fighter {
    let number: UInt64
    /// For records of calls: not the other's.
    let record: UInt64
    private var state: UInt64

    init(_ number: UInt64) {
        self.number = number
        record = xenpv_scratch_address() + 0x2000 + number << 8
        state = 0x9e37_79b9_7f4a_7c15 ^ number << 32
    }

    /// xorshift64 (Marsaglia 2003).
    mutating func below(_ limit: UInt64) -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return (state >> 11) % limit
    }

    /// One of four ways to store an entry of the table.
    mutating func write(_ slot: UInt64, _ value: UInt64) {
        switch below(4) {
        case 0:
            kit_store64(record, table << 12 | slot << 3)
            kit_store64(record + 8, value)
            check(call(Call.mmuUpdate, record, 1, 0, domainSelf) == 0, "mmu_update")
        case 1: check(call(Call.updateAddress, window + slot << 12, value, 2) == 0, "update_va_mapping")
        case 2: kit_store64(view + 511 << 12 + slot << 3, value)
        default: _ = kit_exchange64(view + 511 << 12 + slot << 3, value)
        }
    }

    /// INVLPG_LOCAL, INVLPG_MULTI, INVLPG_ALL, TLB_FLUSH_ALL.
    mutating func flush(_ slot: UInt64) {
        let commands = below(4)
        kit_store64(record, commands == 0 ? 7 : commands == 1 ? 9 : commands == 2 ? 11 : 10)
        kit_store64(record + 8, window + slot << 12)
        kit_store64(record + 16, record + 64)
        kit_store64(record + 64, 3)
        check(call(Call.mmuExtended, record, 1, 0, domainSelf) == 0, "a flush")
    }

    mutating func round() {
        let mine = number * 64 + below(16)
        let index = below(dataFrames)
        write(mine, (data + index) << 12 | Entry.all)
        flush(mine)
        check(kit_load64(window + mine << 12) == index, "another frame than was mapped")
        let contested = 200 + below(4)
        write(contested, (data + below(dataFrames)) << 12 | Entry.all)
        flush(contested)
        check(kit_load64(window + contested << 12) < dataFrames, "a frame that nobody mapped")
    }
}

private func fight(_ number: UInt64) {
    var fighter = Fighter(number)
    for slot in 200..<204 as Range<UInt64> { fighter.write(slot, data << 12 | Entry.all) }
    for _ in 0..<3000 as Range<Int> { fighter.round() }
}
