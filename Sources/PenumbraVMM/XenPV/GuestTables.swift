// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// Flags of paging entries (Intel SDM vol. 3, 4.5).
enum PagingFlags {
    static let present: UInt64 = 1
    static let writable: UInt64 = 2
    static let user: UInt64 = 4
    static let accessed: UInt64 = 0x20
    static let dirty: UInt64 = 0x40
    static let noExecute: UInt64 = 1 << 63
    /// Of entries that lead to another table.
    static let table = present | writable | user | accessed
}

/// The 4-level page tables that a Xen PV guest starts with, 4 KiB leaves only.
struct GuestTables {
    static let entries: UInt64 = 512
    /// What one level-2 table and one level-4 entry map.
    static let largeSpan: UInt64 = 1 << 30
    static let topSpan: UInt64 = 1 << 39

    /// As Xen's toolstack sets them.
    private static let leaf = PagingFlags.present | PagingFlags.writable | PagingFlags.accessed
    private static let table = PagingFlags.table | PagingFlags.dirty
    private static let addressMask: UInt64 = 0x000f_ffff_ffff_f000

    /// How many tables below the top-level one map `frames` pages from `address` on.
    static func count(at address: UInt64, frames: UInt64) -> UInt64 {
        guard frames > 0 else { return 0 }
        let last = address + (frames - 1) << PENUMBRA_PAGE_SHIFT
        return [21, 30, 39].reduce(0) { $0 + (last >> $1) - (address >> $1) + 1 }
    }

    let memory: GuestMemory
    let root: UInt64
    /// Frames that the guest may not write: its tables.
    let readOnly: Range<UInt64>
    private var free: Range<UInt64>

    /// The top-level table is the first of `frames`; the rest are taken in the order of need, so
    /// the tables of one mapping come from the top level down.
    init(in memory: GuestMemory, frames: Range<UInt64>) {
        self.memory = memory
        root = frames.lowerBound
        readOnly = frames
        free = frames.dropFirst()
    }

    /// Maps consecutive pages to consecutive frames; new tables are taken from `tables`, if given.
    mutating func map(
        _ frames: Range<UInt64>, at address: UInt64, tables: Range<UInt64>? = nil
    ) throws(VMMError) {
        if let tables { free = tables }
        for (index, frame) in frames.enumerated() {
            let page = address + UInt64(index) << PENUMBRA_PAGE_SHIFT
            let flags = readOnly.contains(frame) ? Self.leaf & ~PagingFlags.writable : Self.leaf
            try memory.store(GuestPhysical(frame: frame).value | flags, at: try leafEntry(of: page))
        }
    }

    private mutating func leafEntry(of address: UInt64) throws(VMMError) -> GuestPhysical {
        var table = GuestPhysical(frame: root)
        for shift in [UInt64(39), 30, 21] {
            let entry = Self.entry(of: address, shift: shift, in: table)
            var value = try memory.load(at: entry)
            if value == 0 {
                // The layout counted the tables with `count`.
                value = GuestPhysical(frame: free.removeFirst()).value | Self.table
                try memory.store(value, at: entry)
            }
            table = GuestPhysical(value & Self.addressMask)
        }
        return Self.entry(of: address, shift: UInt64(PENUMBRA_PAGE_SHIFT), in: table)
    }

    private static func entry(of address: UInt64, shift: UInt64, in table: GuestPhysical) -> GuestPhysical {
        table + (address >> shift & (entries - 1)) * 8
    }
}
