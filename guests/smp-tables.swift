// SPDX-License-Identifier: Apache-2.0
// Three vCPUs map and unmap for two seconds: pages of their own in tables of their own, pages
// of their own in one shared table, and pages that all fight over; by hypercall, by plain
// store, by exchange. What a vCPU reads is always something that was mapped there.
// Attack: page tables
// Expect: exit 0
// Needs: cpus=3, memory=32M
import CKit

let pagesEach: UInt64 = 16
let frameCount: UInt64 = 64
/// Frames, each with its own number in the first word.
nonisolated(unsafe) var frames: UInt64 = 0
/// Entries that all three write, which is what a guest kernel has locks against; the core must
/// survive it, and show one of the values.
let contested = testArea + 0x20_0000_0000
let shared = testArea + 0x20_4000_0000
let own = testArea + 0x30_0000_0000

@_cdecl("guest_main")
func guestMain() {
    frames = Frames.allocate(frameCount)
    for index in 0..<frameCount {
        kit_store64((frames + index) << 12, index)
    }
    _ = Tables.entry(vm.root_frame, contested)
    _ = Tables.entry(vm.root_frame, shared)
    for id in 0..<vm.vcpus {
        _ = Tables.entry(vm.root_frame, own + id << 30)
    }
    Processors.startOthers { work() }
    work()
    Processors.join()
}

func work() {
    let id = kit_cpu_id()
    var random = Random(state: id &+ 99)
    let end = Clock.now + 2 * Clock.second
    while Clock.now < end {
        mapAndLook(own + id << 30 + (random.next() % pagesEach) << 12, &random)
        mapAndLook(shared + (id * pagesEach + random.next() % pagesEach) << 12, &random)
        fight(contested + (random.next() % 4) << 12, &random)
    }
}

func write(_ address: UInt64, _ value: UInt64, _ way: UInt64) {
    let entry = Tables.entry(vm.root_frame, address)
    switch way % 4 {
    case 0: equal(update(entry, value), 0, "update")
    case 1: equal(updateVA(address, value, .page), 0, "update by address")
    case 2: kit_store64(entry, value)
    default: _ = kit_exchange64(entry, value)
    }
}

/// Only this vCPU uses the address: exact results.
func mapAndLook(_ address: UInt64, _ random: inout Random) {
    let index = random.next() % frameCount
    write(address, Entry.make(frames + index, Entry.all), random.next())
    flush(.page, address)
    let seen = probe(kit_probe_load, address)
    seen.passes("mapped")
    equal(seen.value, index, "the frame that was mapped")
    if random.next() & 1 == 0 {
        write(address, 0, random.next())
        flush(.page, address)
        probe(kit_probe_load, address).faults(address, 0, "unmapped")
    }
}

func fight(_ address: UInt64, _ random: inout Random) {
    let index = random.next() % (frameCount + 8)
    write(address, index < frameCount ? Entry.make(frames + index, Entry.all) : 0, random.next())
    flush(random.next() & 7 == 0 ? .pageAllVCPUs : .page, address)
    let seen = probe(kit_probe_load, address)
    if seen.trap.taken == 0 {
        check(seen.value < frameCount, "one of the frames that were mapped")
    } else {
        equal(seen.trap.vector, 14, "or none")
    }
}
