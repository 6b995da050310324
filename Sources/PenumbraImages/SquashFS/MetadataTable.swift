// SPDX-License-Identifier: Apache-2.0

/// A stream of records in blocks of 8 KiB, each packed behind its size in 16 bits. Records may cross
/// blocks; they are found by where their block begins in the packed table, and their offset in it.
struct MetadataTable {
    struct Place: Equatable {
        /// Of the block, from the table's beginning, packed.
        let block: UInt32
        /// In the block, unpacked.
        let offset: UInt16

        /// Both in one number, as inodes are referred to.
        var reference: UInt64 { UInt64(block) << 16 | UInt64(offset) }
    }

    private let compressor: ZstdCompressor
    private var pending: [UInt8] = []
    private(set) var packed: [UInt8] = []
    /// Where each block begins, from the table's beginning.
    private(set) var blocks: [UInt64] = []

    init(_ compressor: ZstdCompressor) { self.compressor = compressor }

    /// Where the next record will be.
    var place: Place { Place(block: UInt32(packed.count), offset: UInt16(pending.count)) }

    mutating func append(_ bytes: [UInt8]) throws(ImageError) {
        pending += bytes
        while pending.count >= SquashFSFormat.metadataBlockSize {
            try flush(pending.prefix(SquashFSFormat.metadataBlockSize))
            pending.removeFirst(SquashFSFormat.metadataBlockSize)
        }
    }

    /// The last block may be shorter.
    mutating func finish() throws(ImageError) {
        if !pending.isEmpty { try flush(pending[...]) }
        pending = []
    }

    private mutating func flush(_ block: ArraySlice<UInt8>) throws(ImageError) {
        // Places have 32 bits; a table of so many records is no image's.
        guard packed.count <= Int(Int32.max) else {
            throw .tooLarge(what: "a table of the image's files", limit: "2 GiB")
        }
        blocks.append(UInt64(packed.count))
        let compressed = compressor.compress(block)
        let size = UInt16((compressed ?? Array(block)).count)
        var header = LittleEndianBytes()
        header.put(compressed == nil ? size | SquashFSFormat.storedMetadata : size)
        packed += header.bytes
        packed += compressed ?? Array(block)
    }
}
