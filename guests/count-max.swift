// SPDX-License-Identifier: Apache-2.0
// Counts of 2^32-1 and lengths of 2^64-1: the core works in slices, delivers events between
// them, stops with -EFAULT where the array ends, and says exactly how far it came.
// Attack: time
// Expect: exit 0
import CKit

let pairs: UInt64 = 32768
let limit: UInt64 = 0xffff_ffff

/// An array of updates that ends at the end of the mapped area.
struct UpdateArray {
    let base = testArea
    let target: UInt64
    let frame = Frames.allocate()

    init() {
        let pages = pairs * 16 / pageSize
        let frames = Frames.allocate(pages)
        for page in 0..<pages {
            Tables.map(vm.root_frame, base + page << 12, frames + page)
        }
        target = Tables.entry(vm.root_frame, testArea + 0x4000_0000)
        for index in 0..<pairs {
            kit_store64(base + index * 16, target)
            kit_store64(base + index * 16 + 8, index & 1 == 0 ? 0 : Entry.make(frame, Entry.all))
        }
    }
}

@_cdecl("guest_main")
func guestMain() {
    let array = UpdateArray()
    updates(array)
    interruptible(array)
    lengths(array)
}

func doUpdates(_ array: UpdateArray, from first: UInt64) -> (result: Int64, done: UInt64) {
    let done = Frames.allocate() << 12
    let result = hypercall(PTEST_UPDATE, array.base + first * 16, limit, done)
    return (result, UInt64(kit_load32(done)))
}

func updates(_ array: UpdateArray) {
    forEach([0, 1, 64, pairs - 1, pairs]) { first in
        let (result, done) = doUpdates(array, from: first)
        equal(result, Errno.fault, "the array ends in an unmapped page")
        equal(done, pairs - first, "all that could be done was done")
    }
    equal(kit_load64(array.target) & Entry.addressMask, array.frame << 12, "the last update holds")
    let zero = hypercall(PTEST_UPDATE, array.base, 0, 0)
    equal(zero, 0, "a count of 0")
}

/// A timer that fires in the midst of it is delivered before the hypercall is through.
func interruptible(_ array: UpdateArray) {
    setTrapHandler(KIT_VECTOR_EVENT) { _ in
        Events.collect()
        eventAt = Clock.now
    }
    let began = Clock.now
    Events.setMask(false)
    Clock.setTimer(began + 100_000)
    let (result, done) = doUpdates(array, from: 0)
    let ended = Clock.now
    Events.setMask(true)
    equal(result, Errno.fault, "the same with events")
    equal(done, pairs, "nothing lost, nothing done twice")
    if ended - began > 2 * Clock.millisecond {
        equal(Events.timers, 1, "the event came")
        check(eventAt < ended, "while the hypercall was under way")
        check(
            counter(PENUMBRA_COUNTER_exit_slice) + counter(PENUMBRA_COUNTER_exit_interrupt)
                + counter(PENUMBRA_COUNTER_exit_timer) > 0, "the core left the CPU on its way")
    }
}

nonisolated(unsafe) var eventAt: UInt64 = 0

func lengths(_ array: UpdateArray) {
    for offset in stride(from: UInt64(0), to: 4096, by: 1) {
        kit_store8(array.base + offset, offset & 63 == 63 ? 10 : 46)
    }
    equal(hypercall(PTEST_CONSOLE_WRITE, array.base, ~0), 2048, "at most 2048 bytes a call")
    let end = array.base + pairs * 16
    equal(hypercall(PTEST_CONSOLE_WRITE, end, ~0), Errno.fault, "text in an unmapped page")
    equal(hypercall(PTEST_CONSOLE_WRITE, array.base, 0), 0, "no text")
}
