// SPDX-License-Identifier: Apache-2.0

/// A directory's entries, sorted by name, in runs behind a header that says what they share: the block
/// of their inodes, and the number that theirs are near to. For large directories there is an index of
/// runs, so that a lookup need not unpack all of them.
struct DirectoryListing {
    private struct Entry {
        let name: [UInt8]
        let type: SquashFSFormat.InodeType
        let number: UInt32
        let place: MetadataTable.Place
    }

    /// A run that begins in another block of the directory table than the one before in the index.
    struct IndexEntry {
        /// Of the run, in the listing.
        let offset: UInt32
        let block: UInt32
        let name: [UInt8]

        var bytes: [UInt8] {
            var bytes = LittleEndianBytes()
            bytes.put(offset, block, UInt32(name.count - 1))
            bytes.put(name)
            return bytes.bytes
        }
    }

    private var runs: [[Entry]] = []
    /// In bytes, with headers.
    private(set) var size = 0
    /// Bytes since the last run that the index will name.
    private var unindexed = 0

    private static let headerSize = 12
    private static let entrySize = 8

    mutating func add(
        _ name: [UInt8], _ type: SquashFSFormat.InodeType, number: UInt32, at place: MetadataTable.Place
    ) {
        let entry = Entry(name: name, type: type, number: number, place: place)
        if !fits(entry) {
            if unindexed >= SquashFSFormat.metadataBlockSize { unindexed = 0 }
            runs.append([])
            grow(Self.headerSize)
        }
        runs[runs.count - 1].append(entry)
        grow(Self.entrySize + name.count)
    }

    private mutating func grow(_ count: Int) {
        size += count
        unindexed += count
    }

    /// Whether the entry can be in the present run.
    private func fits(_ entry: Entry) -> Bool {
        guard let run = runs.last, let first = run.first else { return false }
        return run.count < SquashFSFormat.entriesPerHeader && first.place.block == entry.place.block
            && Int16(exactly: Int64(entry.number) - Int64(first.number)) != nil
            && unindexed < SquashFSFormat.metadataBlockSize
    }

    /// Appends the listing to the table of directories and returns its index.
    func write(to table: inout MetadataTable) throws -> [IndexEntry] {
        var index: [IndexEntry] = []
        var offset = 0
        var indexed = 0
        for run in runs {
            guard let first = run.first else { continue }
            if offset - indexed >= SquashFSFormat.metadataBlockSize {
                index.append(
                    IndexEntry(offset: UInt32(offset), block: table.place.block, name: first.name))
                indexed = offset
            }
            let bytes = Self.bytes(run, first)
            offset += bytes.count
            try table.append(bytes)
        }
        return index
    }

    private static func bytes(_ run: [Entry], _ first: Entry) -> [UInt8] {
        var bytes = LittleEndianBytes()
        bytes.put(UInt32(run.count - 1), first.place.block, first.number)
        for entry in run {
            // Two's complement: `fits` has checked that it has 16 bits.
            let difference = UInt16(truncatingIfNeeded: Int64(entry.number) - Int64(first.number))
            bytes.put(entry.place.offset, difference, entry.type.rawValue, UInt16(entry.name.count - 1))
            bytes.put(entry.name)
        }
        return bytes.bytes
    }
}
