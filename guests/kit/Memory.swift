// SPDX-License-Identifier: Apache-2.0
// Free frames and page tables. Tables are reached through the identity map.
import CKit

let pageSize: UInt64 = 4096

/// Frames that nobody uses, each given out once and full of zeroes.
enum Frames {
    /// The counter's own address lets several vCPUs allocate at once.
    nonisolated(unsafe) private static var next: UInt64 = 0

    static func initialise() {
        next = vm.first_free_frame
    }

    static func allocate(_ count: UInt64 = 1) -> UInt64 {
        let first = withUnsafeMutablePointer(to: &next) {
            kit_add64(UInt64(UInt(bitPattern: $0)), count)
        }
        check(first + count <= vm.ram_frames, "enough RAM for this guest")
        return first
    }

    /// The one allocated last.
    static var last: UInt64 { next - 1 }

    static var remaining: UInt64 { vm.ram_frames - next }
}

/// Bits of a page-table entry: Intel SDM vol. 3, 4.5.
enum Entry {
    static let present: UInt64 = 1
    static let writable: UInt64 = 2
    static let user: UInt64 = 4
    static let accessed: UInt64 = 0x20
    static let dirty: UInt64 = 0x40
    static let noExecute: UInt64 = 1 << 63
    /// A page that both modes may read, write and execute.
    static let all: UInt64 = present | writable | user
    static let addressMask: UInt64 = 0x000f_ffff_ffff_f000

    static func frame(_ entry: UInt64) -> UInt64 { (entry & addressMask) >> 12 }
    static func make(_ frame: UInt64, _ flags: UInt64) -> UInt64 { frame << 12 | flags }
}

/// Page-fault error code: Intel SDM vol. 3, 4.7.
enum Fault {
    static let protection: UInt64 = 1
    static let write: UInt64 = 2
    static let user: UInt64 = 4
    static let fetch: UInt64 = 16
}

/// Guest-physical addresses of page-table entries.
enum Tables {
    static func index(_ address: UInt64, _ level: UInt64) -> UInt64 {
        address >> (3 + 9 * level) & 511
    }

    /// The entry for `address` at `level` below `root`, intermediate tables made as needed.
    static func entry(_ root: UInt64, _ address: UInt64, level: UInt64 = 1) -> UInt64 {
        var table = root
        var current: UInt64 = 4
        while current > level {
            let slot = table << 12 + index(address, current) * 8
            if kit_load64(slot) & Entry.present == 0 {
                equal(update(slot, Entry.make(Frames.allocate(), Entry.all)), 0, "link a table")
            }
            table = Entry.frame(kit_load64(slot))
            current -= 1
        }
        return table << 12 + index(address, level) * 8
    }

    /// Maps one page by PTEST_UPDATE.
    static func map(_ root: UInt64, _ address: UInt64, _ frame: UInt64, _ flags: UInt64 = Entry.all) {
        equal(update(entry(root, address), Entry.make(frame, flags)), 0, "map a page")
    }

    /// A root that shares everything below `root`'s first `slots` entries.
    static func makeRoot(sharing root: UInt64, slots: UInt64 = 256) -> UInt64 {
        let copy = Frames.allocate()
        for slot in 0..<slots {
            kit_store64(copy << 12 + slot * 8, kit_load64(root << 12 + slot * 8))
        }
        return copy
    }
}

/// Addresses that the VMM's tables leave free, 512 GiB apart from all that it maps.
let testArea: UInt64 = 0x0000_0080_0000_0000
/// The same in the upper half, beyond the direct map.
let upperTestArea: UInt64 = 0xffff_c000_0000_0000

/// Numbers without pattern: Marsaglia's xorshift64 (doi:10.18637/jss.v008.i14).
struct Random {
    var state: UInt64

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}
