// SPDX-License-Identifier: Apache-2.0
// More tables in use than the core's pool holds shadows for: old ones are given up and come
// back on demand; every translation stays right, and the guest notices nothing.
// Attack: exhaustion
// Expect: exit 0
// Needs: debug, memory=32M
import CKit

let regions: UInt64 = 600
let poolPages: UInt64 = 192

func address(_ region: UInt64) -> UInt64 { testArea + region << 21 + (region % 512) << 12 }

@_cdecl("guest_main")
func guestMain() {
    equal(hypercall(PTEST_LIMIT_POOL, poolPages), 0, "limit the pool")
    let frames = Frames.allocate(regions)
    for region in 0..<regions {
        kit_store64((frames + region) << 12, region)
        Tables.map(vm.root_frame, address(region), frames + region)
    }
    makeUserRoot()
    for round: UInt64 in 0..<3 {
        for region in 0..<regions {
            let user = (region + round) & 1 == 0
            let seen =
                user ? userProbe(kit_probe_load, address(region)) : probe(kit_probe_load, address(region))
            seen.passes("still mapped")
            equal(seen.value, region, "the right frame")
        }
    }
    changesBetween(frames)
    check(counter(PENUMBRA_COUNTER_reclaims) > 0, "shadows were reclaimed")
    put("shadow pages made: ")
    put(decimal: counter(PENUMBRA_COUNTER_shadow_pages_made))
    endLine()
}

/// Entries that change while their table has no shadow, or an unsynced one.
func changesBetween(_ frames: UInt64) {
    var random = Random(state: 3)
    for _ in 0..<4000 {
        let region = random.next() % regions
        let target = random.next() % regions
        let entry = Tables.entry(vm.root_frame, address(region))
        let value = Entry.make(frames + target, Entry.all)
        if random.next() & 1 == 0 {
            kit_store64(entry, value)
        } else {
            equal(update(entry, value), 0, "update")
        }
        flush(.page, address(region))
        equal(kit_load64(address(region)), target, "the new frame")
    }
}
