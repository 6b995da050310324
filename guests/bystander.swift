// SPDX-License-Identifier: Apache-2.0
// A VM that has nothing to do with the attacks beside it: it remaps pages and reads them back, holds
// patterns in all FPU registers, in both modes, and sleeps between; it fails at the first wrong word.
// Expect: timeout
import CKit

private let pages: UInt64 = 16

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    let avx = FloatingPoint.enableAVX()
    let area = FloatingPoint.Area()
    let frames = Frames.allocate(pages)
    var round: UInt64 = 0
    while true {
        remap(frames, round)
        FloatingPoint.holdInKernel(area, spins: 20_000, avx: avx, seed: round)
        FloatingPoint.holdInUser(area, spins: 20_000, avx: avx, seed: ~round)
        Clock.setTimer(Clock.now + 20 * Clock.millisecond)
        hypercall(PTEST_HALT)
        Events.setMask(true)
        round += 1
    }
}

/// Each page shows another frame than in the round before.
private func remap(_ frames: UInt64, _ round: UInt64) {
    for page in 0..<pages {
        let frame = frames + (page + round) % pages
        Tables.map(vm.root_frame, testArea + page * pageSize, frame)
    }
    flush(.local)
    for page in 0..<pages {
        kit_store64(testArea + page * pageSize, round << 8 | page)
    }
    for page in 0..<pages {
        let frame = frames + (page + round) % pages
        equal(kit_load64(frame << 12), round << 8 | page, "what was written through another mapping")
    }
}
