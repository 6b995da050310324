// SPDX-License-Identifier: Apache-2.0
// Lists of 2^32-1 sound requests, all of them mapped: done in slices, so that the VM can be
// ended at any moment.
// Attack: time
// Expect: timeout
import XenKit

/// Frames: a page of requests that change nothing, then a table of each level that names one
/// frame in all its entries, so that 256 GiB show that page.
private let requests: UInt64 = 2048
private let slot: UInt64 = 7

func guestMain() {
    let target = Domain.firstFree + 600
    var level: UInt64 = 1
    while level <= 3 {
        var index: UInt64 = 0
        while index < 512 {
            let entry = (requests + level - 1) << 12 | Entry.all
            check(store(entry: entry, frame: requests + level, slot: index) == 0, "a table")
            index += 1
        }
        level += 1
    }
    check(store(entry: (requests + 3) << 12 | Entry.all, frame: Domain.root, slot: slot) == 0, "the root")
    let list = slot << 39
    var index: UInt64 = 0
    while index < 256 {
        kit_store64(list + index << 4, target << 12)
        kit_store64(list + index << 4 + 8, 0)
        index += 1
    }
    check(call(Call.mmuUpdate, list, 1000, 0, domainSelf) == 0, "a long list")
    call(Call.mmuUpdate, list, 0xffff_ffff, 0, domainSelf)
    fail("a list without an end has ended")
}
