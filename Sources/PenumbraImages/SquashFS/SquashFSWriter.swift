// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Where a file's content is in a file system that is being written.
struct SquashFSContent {
    /// Of the first block.
    var start: UInt64 = 0
    /// Packed sizes; 0 is a block of zeros, which takes no room.
    var blocks: [UInt32] = []
    var sparse: UInt64 = 0
    /// For a file smaller than a block: the block that it shares with others, and where it is there.
    var fragment: UInt32 = SquashFSFormat.none
    var fragmentOffset: UInt32 = 0
}

/// Writes a squashfs: first the content of files, in any order, then `finish` with the tree of names.
///
///     superblock | data blocks and blocks of small files | inodes | directories | fragment table |
///     owners and groups | attributes
///
/// The same tree and content give the same bytes.
final class SquashFSWriter {
    /// docs/images.md has what others would cost.
    private static let compressionLevel: Int32 = 1

    private var output: SquashFSOutput
    private let compressor: ZstdCompressor
    /// Small files of the fragment block that is not full yet.
    private var smallFiles: [UInt8] = []
    private var fragments = LittleEndianBytes()
    private var fragmentCount: UInt32 = 0

    /// `file` is empty; `path` is for messages.
    init(to file: Descriptor, path: String) throws {
        output = SquashFSOutput(file, path: path)
        compressor = try ZstdCompressor(level: Self.compressionLevel)
        try output.append([UInt8](repeating: 0, count: SquashFSFormat.superblockSize))
    }

    /// Takes the content of a file of `size` bytes from `read`, which gives at most as many as it is asked.
    func write(_ size: UInt64, from read: (Int) throws -> [UInt8]) throws -> SquashFSContent {
        if size < SquashFSFormat.blockSize { return try addSmallFile(try Self.block(Int(size), from: read)) }
        var content = SquashFSContent()
        content.start = output.position
        var rest = size
        while rest > 0 {
            let count = Int(min(rest, UInt64(SquashFSFormat.blockSize)))
            let block = try Self.block(count, from: read)
            if count == SquashFSFormat.blockSize, block.allSatisfy({ $0 == 0 }) {
                content.blocks.append(0)
                content.sparse += UInt64(count)
            } else {
                content.blocks.append(try writeBlock(block))
            }
            rest -= UInt64(count)
        }
        return content
    }

    private static func block(_ count: Int, from read: (Int) throws -> [UInt8]) throws -> [UInt8] {
        var block = try read(count)
        while block.count < count {
            let more = try read(count - block.count)
            guard !more.isEmpty else {
                throw ImageError.damaged("a layer", "a file's content ends too early")
            }
            block += more
        }
        return block
    }

    private func addSmallFile(_ bytes: [UInt8]) throws -> SquashFSContent {
        if smallFiles.count + bytes.count > SquashFSFormat.blockSize { try writeSmallFiles() }
        var content = SquashFSContent()
        content.fragment = fragmentCount
        content.fragmentOffset = UInt32(smallFiles.count)
        smallFiles += bytes
        return content
    }

    private func writeSmallFiles() throws {
        guard !smallFiles.isEmpty else { return }
        let start = output.position
        let size = try writeBlock(smallFiles)
        fragments.put(start)
        fragments.put(size, UInt32(0))
        fragmentCount += 1
        smallFiles = []
    }

    /// The size as inodes and fragment tables hold it.
    private func writeBlock(_ block: [UInt8]) throws -> UInt32 {
        let compressed = compressor.compress(block[...])
        try output.append(compressed ?? block)
        return compressed.map { UInt32($0.count) } ?? UInt32(block.count) | SquashFSFormat.storedBlock
    }

    /// Writes the tree, and the superblock last. Contents are those that `write` has returned.
    func finish(_ root: TreeEntry, contents: [FileNode.ContentPlace: SquashFSContent]) throws {
        try writeSmallFiles()
        var inodes = try InodeWriter(compressor, contents: contents)
        let rootPlace = try inodes.write(root)
        var superblock = Superblock(
            inodes: inodes.count, fragments: fragmentCount, ids: UInt16(inodes.ids.count),
            root: rootPlace.reference)
        superblock.inodeTable = try appendBlocks(inodes.inodes).start
        superblock.directoryTable = try appendBlocks(inodes.directories).start
        superblock.fragmentTable = try appendTable(fragments.bytes)
        superblock.idTable = try appendTable(inodes.ids.bytes)
        superblock.attributeTable = try append(inodes.attributes)
        superblock.end = output.position
        try output.pad()
        try output.rewrite(superblock.bytes)
    }

    /// Returns where the table begins, and where each of its blocks does.
    private func appendBlocks(_ table: MetadataTable) throws -> (start: UInt64, blocks: [UInt64]) {
        let start = output.position
        try output.append(table.packed)
        return (start, table.blocks.map { start + $0 })
    }

    /// A table of records that are found by number: its blocks, then where each of them begins. Returns
    /// where that list is.
    private func appendTable(_ records: [UInt8], header: LittleEndianBytes = .init()) throws -> UInt64 {
        var table = MetadataTable(compressor)
        try table.append(records)
        try table.finish()
        let blocks = try appendBlocks(table).blocks
        let list = output.position
        var bytes = header
        for block in blocks { bytes.put(block) }
        try output.append(bytes.bytes)
        return list
    }

    private func append(_ attributes: AttributeTable) throws -> UInt64 {
        guard attributes.count > 0 else { return SquashFSFormat.noTable }
        var header = LittleEndianBytes()
        header.put(try appendBlocks(attributes.values).start)
        header.put(attributes.count, UInt32(0))
        return try appendTable(attributes.sets.bytes, header: header)
    }
}

/// The first bytes of the file system.
private struct Superblock {
    let inodes: UInt32
    let fragments: UInt32
    let ids: UInt16
    let root: UInt64
    var inodeTable: UInt64 = 0
    var directoryTable: UInt64 = 0
    var fragmentTable: UInt64 = 0
    var idTable: UInt64 = 0
    var attributeTable: UInt64 = 0
    var end: UInt64 = 0

    init(inodes: UInt32, fragments: UInt32, ids: UInt16, root: UInt64) {
        (self.inodes, self.fragments, self.ids, self.root) = (inodes, fragments, ids, root)
    }

    var bytes: [UInt8] {
        var bytes = LittleEndianBytes()
        let timeOfMaking: UInt32 = 0
        bytes.put(
            SquashFSFormat.magic, inodes, timeOfMaking, UInt32(SquashFSFormat.blockSize), fragments)
        let flags: UInt16 = 0
        bytes.put(
            SquashFSFormat.zstd, UInt16(SquashFSFormat.blockSizeLog), flags, ids, /* version */ 4, 0)
        bytes.put(
            root, end, idTable, attributeTable, inodeTable, directoryTable, fragmentTable,
            SquashFSFormat.noTable)
        return bytes.bytes
    }
}
