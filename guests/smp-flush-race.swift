// SPDX-License-Identifier: Apache-2.0
// One vCPU remaps a page to ever newer frames and flushes it everywhere; the others, one in
// kernel and one in user mode, never see a frame older than the last flush that had come back.
// Attack: page tables
// Expect: exit 0
// Needs: cpus=3
import CKit

let generations: UInt64 = 512
let window = testArea + 0x10_0000_0000

/// Last generation whose flush has returned.
nonisolated(unsafe) var flushed = SharedWord.none
nonisolated(unsafe) var observed = SharedWord.none

/// Reads until the last generation; answers how often, or 0 after a stale read.
let watch: UserFunction = { flushed, window, generations, _ in
    var reads: UInt64 = 1
    while true {
        let oldest = kit_load64(flushed)
        kit_fence()
        if kit_load64(window) < oldest {
            return 0
        }
        if oldest == generations {
            return reads
        }
        reads &+= 1
    }
}

@_cdecl("guest_main")
func guestMain() {
    flushed = .make()
    observed = .make()
    let frames = Frames.allocate(generations + 1)
    for generation in 0...generations {
        kit_store64((frames + generation) << 12, generation)
    }
    Tables.map(vm.root_frame, window, frames)
    Processors.startOthers {
        equal(setRoots(kernel: vm.root_frame, user: vm.root_frame), 0, "set roots")
        let reads =
            kit_cpu_id() & 1 == 0
            ? callUser(watch, flushed.address, window, generations)
            : watch(flushed.address, window, generations, 0)
        check(reads > 0, "no stale read")
        observed.add(reads)
    }
    remap(frames)
    Processors.join()
    put("reads that raced: ")
    put(decimal: observed.value)
    endLine()
}

/// Remaps in the four ways there are.
func remap(_ frames: UInt64) {
    let entry = Tables.entry(vm.root_frame, window)
    for generation in 1...generations {
        let value = Entry.make(frames + generation, Entry.all)
        switch generation % 4 {
        case 0:
            equal(updateVA(window, value, .pageAllVCPUs), 0, "update and flush")
        case 1:
            equal(update(entry, value), 0, "update")
            flush(.pageAllVCPUs, window)
        case 2:
            kit_store64(entry, value)
            flush(.pageAllVCPUs, window)
        default:
            _ = kit_exchange64(entry, value)
            flush(.allVCPUs)
        }
        flushed.value = generation
        for _ in 0..<50 {
            kit_pause()
        }
    }
}
