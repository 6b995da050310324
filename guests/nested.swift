// SPDX-License-Identifier: Apache-2.0
// Faults within fault handlers, eight deep, entered from either mode; a handler that maps the
// page it was called for and lets the instruction run again; and CR2 of the innermost fault.
// Expect: exit 0
import CKit

let area = testArea + 0x1000_0000
let depth: UInt64 = 8

nonisolated(unsafe) var level: UInt64 = 0
nonisolated(unsafe) var deepest: UInt64 = 0

/// Maps the page that was missing, but touches the next one first: which faults as well.
func mapMissing(_ frame: Frame) {
    let address = Info.cr2
    equal(address, area + level << 12, "CR2 names this level's page")
    check(frame.pointee.error & Fault.protection == 0, "the page is absent")
    check(level == 0 || frame.pointee.cs & 3 == 0, "an inner fault is from kernel mode")
    if level + 1 < depth {
        level += 1
        deepest = level
        kit_store64(area + level << 12, level)
        level -= 1
    }
    Tables.map(vm.root_frame, area + level << 12, Frames.allocate())
}

func unmapAll() {
    for index in 0..<depth {
        equal(updateVA(area + index << 12, 0, .page), 0, "unmap")
    }
    deepest = 0
}

@_cdecl("guest_main")
func guestMain() {
    Tables.map(vm.root_frame, area, Frames.allocate())
    makeUserRoot()
    setTrapHandler(14) { frame in mapMissing(frame!) }
    for round: UInt64 in 0..<50 {
        unmapAll()
        if round & 1 == 0 {
            kit_store64(area, 99)
        } else {
            _ = callUser(
                { address, _, _, _ in
                    kit_store64(address, 99); return 0
                }, area)
        }
        equal(deepest, depth - 1, "all levels were entered")
        equal(kit_load64(area), 99, "the first store happened in the end")
        for index in 1..<depth {
            equal(kit_load64(area + index << 12), index, "as did each inner one")
        }
    }
}
