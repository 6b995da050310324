// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// The page tables that a micro-guest starts with: 4 levels, 4 KiB leaves, everything writable and
/// accessible to both modes; all RAM at linear address 0 and again at PTEST_DIRECT_MAP, through
/// tables of its own each, so that a guest may change one and rely on the other.
struct PageTables {
    /// Intel SDM vol. 3, 4.5: present, writable, user.
    static let flags: UInt64 = 7
    static let entriesPerTable: UInt64 = 512

    /// Top-level table.
    let root: GuestPhysical
    /// The first address above the tables.
    let end: GuestPhysical

    /// How many tables the maps of `frames` frames need.
    static func count(frames: UInt64) -> UInt64 { 1 + 2 * countOfOneMap(frames: frames) }

    private static func countOfOneMap(frames: UInt64) -> UInt64 {
        var tables: UInt64 = 0
        var entries = frames
        for _ in 1...3 {
            entries = (entries + entriesPerTable - 1) / entriesPerTable
            tables += entries
        }
        return tables
    }

    /// Writes the tables from `start` on.
    init(in memory: GuestMemory, at start: GuestPhysical) throws(VMMError) {
        root = start
        var builder = Builder(memory: memory, next: start + UInt64(PENUMBRA_PAGE_SIZE))
        for base in [0, UInt64(PTEST_DIRECT_MAP)] {
            let top = (base >> 39) & (Self.entriesPerTable - 1)
            try memory.store(
                try builder.map(frames: 0..<memory.frames, level: 3).value | Self.flags, at: root + top * 8)
        }
        end = builder.next
    }

    private struct Builder {
        let memory: GuestMemory
        var next: GuestPhysical

        /// Makes a table of `level` that maps these frames from its first entry on.
        mutating func map(frames: Range<UInt64>, level: Int) throws(VMMError) -> GuestPhysical {
            let table = next
            next = next + UInt64(PENUMBRA_PAGE_SIZE)
            let framesPerEntry: UInt64 = 1 << (9 * (UInt64(level) - 1))
            for (index, first) in stride(
                from: frames.lowerBound, to: frames.upperBound, by: Int(framesPerEntry)
            ).enumerated() {
                let last = min(first + framesPerEntry, frames.upperBound)
                let target =
                    level == 1 ? GuestPhysical(frame: first) : try map(frames: first..<last, level: level - 1)
                try memory.store(target.value | PageTables.flags, at: table + UInt64(index) * 8)
            }
            return table
        }
    }
}
