// SPDX-License-Identifier: Apache-2.0
// Every call and command: those that are not offered, wild and straddling pointers to every record,
// results into read-only and table pages, lists that take away their own mapping or name themselves,
// counts without end.
// Attack: calls
// Source: XSA-212
// Expect: exit 0
import XenKit

func guestMain() {
    Arena.open()
    notOffered()
    forEach(wild) { pointer in everyRecord(pointer) }
    // A record of two bytes or more whose second is not there.
    everyRecord(Arena.address(Arena.count) - 1)
    readOnlyResults()
    resultsIntoTables()
    exchange()
    vanishingLists()
    endless()
    nested()
    debugRegisters()
    bases()
}

/// Not the guest's, not canonical, not mapped, wrapping round.
private let wild =
    [
        0x8000_0000_0000_0000, 0x0000_8000_0000_0000, 0xffff_7fff_ffff_fff9, 0xffff_ffff_ffff_ffff,
        0x0000_7fff_ffff_ffff, 0x7000_0000_0000, 0xffff_8280_0000_0000, kit_hole_start, kit_hole_end - 1,
        kit_core_image, kit_core_vm, kit_core_ram + 0x10_0000, kit_core_vcpus + UInt64(PENUMBRA_VCPU_PAGE),
    ] as InlineArray<13, UInt64>

// MARK: - What there is not

private let offered: UInt64 =
    1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14
    | 1 << 15 | 1 << 17 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 23 | 1 << 24 | 1 << 25 | 1 << 26 | 1 << 29
    | 1 << 30 | 1 << 32 | 1 << 33

private func notOffered() {
    var number: UInt64 = 0
    while number < 1024 {
        if number >= 64 || offered >> number & 1 == 0 { isUnknown(number) }
        number += 1
    }
    forEach([1 << 31, 1 << 32 | 17, 1 << 63 | 17, ~0]) { isUnknown($0) }
    commands(Call.memory, limit: 64, offered: 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 9 | 1 << 12)
    commands(Call.grantTable, limit: 256, offered: 1 << 2 | 1 << 6 | 1 << 8)
    commands(Call.eventChannel, limit: 256, offered: 1 << 1 | 0x3f << 3 | 1 << 9)
    commands(Call.physicalDevice, limit: 256, offered: 1 << 6)
    commands(Call.version, limit: 256, offered: 0x1ff)
    commands(Call.scheduler, limit: 256, offered: 0xf)
    commands(Call.vcpu, limit: 256, offered: 0x3f | 0xf << 7 | 1 << 13, second: 0)
    commands(Call.callback, limit: 256, offered: 3)
    var command: UInt64 = 16
    while command < 256 {
        if command != 18 { check(extended(command, 0, 0) == Refused.unknown, "an mmuext_op") }
        command += 1
    }
    check(extended(14, Arena.first) == Refused.unknown, "no operation 14")
}

private func isUnknown(_ number: UInt64) {
    let record = xenpv_scratch_address()
    check(call(number, record, record, record, record) == Refused.unknown, "a call that is not there")
}

private func commands(_ number: UInt64, limit: UInt64, offered: UInt64, second: UInt64? = nil) {
    let record = xenpv_scratch_address()
    var command: UInt64 = 0
    while command < limit {
        if command >= 64 || offered >> command & 1 == 0 {
            let result = call(number, command, second ?? record, second == nil ? 1 : record)
            check(result == Refused.unknown, "a command that is not there")
        }
        command += 1
    }
}

// MARK: - Records

private func everyRecord(_ pointer: UInt64) {
    func fails(_ number: UInt64, _ first: UInt64, _ second: UInt64 = 1, _ third: UInt64 = 0) {
        check(call(number, first, second, third, domainSelf) == Refused.fault, "a wild record")
    }
    fails(Call.setTrapTable, pointer)
    fails(Call.mmuUpdate, pointer)
    fails(Call.mmuUpdate, pointer, 0xffff_ffff)
    fails(Call.mmuExtended, pointer)
    fails(Call.multicall, pointer)
    fails(Call.multicall, pointer, 0xffff_ffff)
    fails(Call.setGDT, pointer, 1)
    fails(Call.console, 0, 16, pointer)
    fails(Call.console, 0, 0xffff_ffff, pointer)
    for command in 0..<2 as Range<UInt64> { fails(Call.callback, command, pointer) }
    for command in 1..<10 as Range<UInt64> where command != 2 {
        fails(Call.eventChannel, command, pointer)
    }
    forEach([1, 6, 9, 12]) { fails(Call.memory, $0, pointer) }
    forEach([2, 6, 8]) { fails(Call.grantTable, $0, pointer, 1) }
    forEach([1, 2, 3, 4, 5, 6, 8]) { fails(Call.version, $0, pointer) }
    forEach([2, 3]) { fails(Call.scheduler, $0, pointer) }
    forEach([5, 8, 10, 13]) { fails(Call.vcpu, $0, 0, pointer) }
    innerPointers(pointer)
}

/// Pointers that stand in records.
private func innerPointers(_ pointer: UInt64) {
    let record = xenpv_scratch_address()
    kit_store64(record, pointer)
    check(call(Call.vcpu, 5, 0, record) == Refused.fault, "runstate")
    check(call(Call.vcpu, 13, 0, record) == Refused.fault, "the time area")
    kit_store64(record, 1)
    kit_store64(record + 8, pointer)
    check(call(Call.memory, 9, record) == Refused.fault, "the memory map's buffer")
    kit_store64(record, pointer)
    kit_store64(record + 8, ~0)
    kit_store64(record + 16, 0)
    kit_store64(record + 24, domainSelf)
    check(call(Call.memory, 1, record) == 0, "the balloon's list: none done")
    check(call(Call.memory, 1 << 63 | 1, record) == 1 << 57, "none beyond what it says were done")
    kit_store64(record, domainSelf | 64 << 32)
    kit_store64(record + 16, pointer)
    check(call(Call.grantTable, 2, record, 1) == Refused.fault, "the grant frames' list")
    kit_store64(record, Extended.flush + 2)
    kit_store64(record + 16, pointer)
    check(call(Call.mmuExtended, record, 1, 0, domainSelf) == Refused.fault, "a set of vCPUs")
    kit_store64(record, Extended.setLDT)
    kit_store64(record + 8, pointer & ~4095)
    kit_store64(record + 16, 8192)
    check(call(Call.mmuExtended, record, 1, 0, domainSelf) < 0, "an LDT")
    // Where the number of requests done goes.
    kit_store64(record, 77 << 12 | 1)
    kit_store64(record + 8, 77)
    check(call(Call.mmuUpdate, record, 1, pointer, domainSelf) == Refused.fault, "the number done")
}

private func readOnlyResults() {
    let map = UInt64(XENPV_M2P_START)
    forEach([1, 2, 3, 4, 5, 8]) { command in
        check(call(Call.version, command, map) == Refused.fault, "into a read-only page")
    }
    check(call(Call.memory, 12, map) == Refused.fault, "into the map itself")
    check(call(Call.eventChannel, 7, map + 8) < 0, "a port's number")
    check(kit_load64(map + 8) == 1 && kit_load64(map + 16) == 2, "the map is as it was")
}

/// The core's own stores to a page that is a table: as good as the guest's.
private func resultsIntoTables() {
    let slot: UInt64 = 5
    let page = Arena.first
    for level in 1..<4 as Range<UInt64> {
        let entry = (page + level - 1) << 12 | Entry.all
        store(entry: entry, frame: page + level, slot: 0)
    }
    store(entry: (page + 3) << 12 | Entry.all, frame: Domain.root, slot: slot)
    for level in 1..<4 as Range<UInt64> {
        kit_store64(page << 12, 99)
        check(kit_load64(slot << 39) == 99, "a path")
        check(call(Call.version, 8, (page + level) << 12) == 0, "zeroes into its table")
        extended(Extended.flush)
        check(xenpv_try_load(slot << 39) == 1, "and it is gone")
        store(entry: (page + level - 1) << 12 | Entry.all, frame: page + level, slot: 0)
    }
    // Mapped read-only it is no place for results.
    store(entry: (page + 1) << 12 | Entry.present | Entry.user, frame: page + 1, slot: 0)
    extended(Extended.flush)
    check(call(Call.version, 8, slot << 39) == Refused.fault, "a table that is mapped read-only")
    store(entry: 0, frame: Domain.root, slot: slot)
    extended(Extended.flush)
}

/// XSA-212: memory_exchange stored results through a pointer that was never checked. It is not
/// offered, and neither are its kin that copy for the guest.
private func exchange() {
    let record = xenpv_scratch_address()
    var word: UInt64 = 0
    while word < 16 {
        kit_store64(record + word << 3, word & 1 == 0 ? kit_core_image : 1)
        word += 1
    }
    check(call(Call.memory, 11, record) == Refused.unknown, "memory_exchange")
    forEach([0, 1, 3, 4, 5, 7, 9, 10]) { command in
        check(call(Call.grantTable, command, record, 1) == Refused.unknown, "a grant operation")
    }
    forEach([16, 17, 19, 20]) { command in
        check(extended(command, Arena.first) == Refused.unknown, "clear, copy, superpages")
    }
}

// MARK: - Lists

/// A list whose first request unmaps it: those that were read with it are done, no more.
private func vanishingLists() {
    let slot: UInt64 = 5
    let list = slot << 39
    let page = Arena.first + 16
    for level in 1..<4 as Range<UInt64> {
        store(entry: (page + level - 1) << 12 | Entry.all, frame: page + level, slot: 0)
    }
    store(entry: (page + 3) << 12 | Entry.all, frame: Domain.root, slot: slot)
    for level in 1..<4 as Range<UInt64> {
        let place = (page + level) << 12
        kit_store64(page << 12, place)
        kit_store64(page << 12 + 8, 0)
        var request: UInt64 = 1
        while request < 256 {
            kit_store64(page << 12 + request << 4, (page + 8) << 12 | request << 3)
            kit_store64(page << 12 + request << 4 + 8, 0)
            request += 1
        }
        let result = call(Call.mmuUpdate, list, 256, xenpv_scratch_address() + 0x3000, domainSelf)
        let done = kit_load32(xenpv_scratch_address() + 0x3000)
        check(result == 0 || result == Refused.fault && done >= 1 && done <= 256, "a list that goes")
        store(entry: (page + level - 1) << 12 | Entry.all, frame: page + level, slot: 0)
        extended(Extended.flush)
    }
    balloonedList(page)
    store(entry: 0, frame: Domain.root, slot: slot)
    extended(Extended.flush)
}

/// The balloon is given the frame of its own list, of this code, and of its stack.
private func balloonedList(_ page: UInt64) {
    let record = page << 12
    kit_store64(record, record + 0x100)
    kit_store64(record + 8, 4)
    kit_store64(record + 16, 0)
    kit_store64(record + 24, domainSelf)
    kit_store64(record + 0x100, page)
    kit_store64(record + 0x108, kit_function_address(xenpv_trap) >> 12)
    kit_store64(record + 0x110, xenpv_entry_stack() >> 12)
    kit_store64(record + 0x118, Domain.shared)
    check(call(Call.memory, 1, record) == 3, "all but shared_info")
}

private func endless() {
    let list = Arena.address(Arena.count - 1)
    let done = xenpv_scratch_address()
    var request: UInt64 = 0
    while request < 256 {
        kit_store64(list + request << 4, 77 << 12 | 1)
        kit_store64(list + request << 4 + 8, 77)
        request += 1
    }
    check(call(Call.mmuUpdate, list, 0xffff_ffff, done, domainSelf) == Refused.fault, "up to its end")
    check(kit_load32(done) == 256, "and says how far")
    check(call(Call.mmuUpdate, list, 1 << 32, done, domainSelf) == 0, "a count of 32 bits")
    request = 0
    while request < 512 {
        kit_store64(list + request << 3, 0)
        request += 1
    }
    request = 0
    while request < 64 {
        kit_store64(list + request << 6, Call.version)
        request += 1
    }
    check(call(Call.multicall, list, 0xffff_ffff) == Refused.fault, "calls up to their end")
    check(kit_load64(list + 63 << 6 + 8) == 4 << 16 | 17, "the last of them is done")
}

/// Calls in a list that name the list.
private func nested() {
    let list = xenpv_scratch_address()
    func entry(_ index: UInt64, _ number: UInt64, _ first: UInt64, _ second: UInt64, _ third: UInt64 = 0) {
        let place = list + index << 6
        kit_store64(place, number)
        kit_store64(place + 16, first)
        kit_store64(place + 24, second)
        kit_store64(place + 32, third)
        kit_store64(place + 40, domainSelf)
    }
    entry(0, Call.multicall, list, 0xffff_ffff)
    entry(1, Call.iret, 0, 0)
    entry(2, Call.scheduler, 2, list)
    entry(3, Call.console, 0, 64, list)
    // Its results become the next call: a number that does not exist.
    entry(4, Call.version, 8, list + 5 << 6)
    entry(5, Call.mmuUpdate, list, 0xffff_ffff)
    entry(6, Call.mmuExtended, list, 1 << 31)
    check(call(Call.multicall, list, 7) == 0, "a list of such calls")
    for index in 0..<4 as Range<UInt64> {
        check(kit_load64(list + index << 6 + 8) == UInt64(bitPattern: Refused.unknown), "not in a list")
    }
    check(kit_load64(list + 5 << 6) == 0, "call 5 became call 0")
    Handlers.install()
}

// MARK: - Registers

private func debugRegisters() {
    forEach(wild) { address in
        for register in 0..<4 as Range<UInt64> {
            let result = call(Call.setDebugRegister, register, address)
            let kept = UInt64(bitPattern: call(Call.getDebugRegister, register))
            check(result == 0 || kept != address, "refused, and not kept")
            let isTop = address &+ 0x8000_0000_0000 < 1 << 48
            check(isTop || result == Refused.notPermitted, "an address that is none")
        }
    }
    for register in 0..<4 as Range<UInt64> {
        check(call(Call.setDebugRegister, register, kit_hole_start + register) < 0, "the core's")
    }
    // I/O breakpoints, general detect, reserved bits and the upper half are not kept.
    check(call(Call.setDebugRegister, 7, ~0) == 0, "everything at once")
    let control = UInt64(bitPattern: call(Call.getDebugRegister, 7))
    check(control >> 32 == 0 && control & 0xfc00 == 0x400, "sanitised")
    check(call(Call.setDebugRegister, 7, 0x2_0001) == 0, "an I/O breakpoint")
    check(UInt64(bitPattern: call(Call.getDebugRegister, 7)) & 3 == 0, "is not armed")
    check(call(Call.setDebugRegister, 6, ~0) == 0, "DR6 is a word of the guest's own")
    forEach([4, 5, 8, 1 << 32, ~0]) { register in
        check(call(Call.setDebugRegister, register, 0) == Refused.invalid, "a register that is none")
        check(call(Call.getDebugRegister, register) == Refused.invalid, "nor readable")
    }
    check(call(Call.setDebugRegister, 7, 0) == 0, "disarmed")
}

private func bases() {
    forEach([0x8000_0000_0000_0000, 0x0000_8000_0000_0000, 0xffff_7fff_ffff_ffff]) { base in
        for which in 0..<3 as Range<UInt64> {
            check(call(Call.setSegmentBase, which, base) == Refused.invalid, "not canonical")
        }
        check(call(Call.stackSwitch, 0xe02b, base) == Refused.invalid, "a stack")
    }
    forEach([4, 1 << 32, ~0]) { check(call(Call.setSegmentBase, $0, 0) == Refused.invalid, "a segment") }
    forEach([kit_hole_start, kit_hole_end - 1, kit_core_image]) { stack in
        check(call(Call.stackSwitch, 0xe02b, stack) == Refused.invalid, "the core's memory as stack")
    }
}
