// SPDX-License-Identifier: Apache-2.0
// First touches at random all over RAM: what is written through the direct map is there
// when read through the identity map, in another order and by user code.
// Expect: exit 0
// Needs: memory=8M
import CKit

func value(_ frame: UInt64) -> UInt64 { frame &* 0x9e37_79b9_7f4a_7c15 }

/// Calls `body` for each of `count` numbers once, in an order that only looks random.
func scattered(_ count: UInt64, _ seed: UInt64, _ body: (UInt64) -> Void) {
    var mask: UInt64 = 1
    while mask < count {
        mask <<= 1
    }
    // A linear congruential generator of full period (Hull and Dobell, 1962).
    var current = seed & (mask - 1)
    for _ in 0..<mask {
        if current < count {
            body(current)
        }
        current = (current &* 0x5_deec_e66d &+ 11) & (mask - 1)
    }
}

@_cdecl("guest_main")
func guestMain() {
    let first = vm.first_free_frame
    let count = Frames.remaining
    scattered(count, 1) { index in
        let frame = first + index
        equal(kit_load64(kit_direct_map + frame << 12 + 8), 0, "an untouched page is zero")
        kit_store64(kit_direct_map + frame << 12 + 8, value(frame))
    }
    scattered(count, 77) { index in
        let frame = first + index
        equal(kit_load64(frame << 12 + 8), value(frame), "identity map shows what was written")
        kit_store64(frame << 12 + 4088, ~value(frame))
    }
    scattered(count, 4242) { index in
        let frame = first + index
        equal(kit_load64(kit_direct_map + frame << 12 + 4088), ~value(frame), "direct map, too")
    }
    readAsUser(first, count)
    check(counter(PENUMBRA_COUNTER_shadow_fills) >= count, "pages were filled on demand")
}

/// User code sums what it sees. Its root is the kernel's: no frame is left for another.
func readAsUser(_ first: UInt64, _ count: UInt64) {
    equal(setRoots(kernel: vm.root_frame, user: vm.root_frame), 0, "set roots")
    let sum = callUser(
        { first, count, _, _ in
            var sum: UInt64 = 0
            for frame in first..<(first &+ count) {
                sum &+= kit_load64(frame << 12 &+ 8)
            }
            return sum
        }, first, count)
    var expected: UInt64 = 0
    for frame in first..<(first + count) {
        expected &+= value(frame)
    }
    equal(sum, expected, "user code reads the same")
}
