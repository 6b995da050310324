// SPDX-License-Identifier: Apache-2.0

/// Owners and groups, which inodes name by their place in this table.
struct IDTable {
    private var indices: [UInt32: UInt16] = [:]
    private var records = LittleEndianBytes()

    var count: Int { indices.count }
    var bytes: [UInt8] { records.bytes }

    mutating func index(of id: UInt32) throws(ImageError) -> UInt16 {
        if let index = indices[id] { return index }
        // The superblock's count of them has 16 bits too.
        guard indices.count < SquashFSFormat.maximumIDs - 1 else {
            throw .tooLarge(what: "the image's number of owners", limit: "\(SquashFSFormat.maximumIDs - 1)")
        }
        let index = UInt16(indices.count)
        indices[id] = index
        records.put(id)
        return index
    }
}

/// Sets of extended attributes, which inodes name by number; equal sets are stored once.
struct AttributeTable {
    var values: MetadataTable
    /// For each set where its values are, how many there are, and their size.
    private(set) var sets = LittleEndianBytes()
    private var indices: [[ExtendedAttribute]: UInt32] = [:]

    init(_ compressor: ZstdCompressor) { values = MetadataTable(compressor) }

    var count: UInt32 { UInt32(indices.count) }

    /// nil for a file without attributes.
    mutating func index(of attributes: [ExtendedAttribute]) throws -> UInt32? {
        guard !attributes.isEmpty else { return nil }
        if let index = indices[attributes] { return index }
        let index = count
        let bytes = attributes.flatMap(Self.bytes)
        sets.put(values.place.reference)
        sets.put(UInt32(attributes.count), UInt32(bytes.count))
        try values.append(bytes)
        indices[attributes] = index
        return index
    }

    private static func bytes(_ attribute: ExtendedAttribute) -> [UInt8] {
        // Others have been left out when the layers were read.
        guard
            let (type, prefix) = SquashFSFormat.attributePrefixes.enumerated().first(where: {
                attribute.name.starts(with: $0.element)
            }).map({ ($0.offset, $0.element) })
        else { preconditionFailure("an attribute of a namespace that squashfs has not") }
        var bytes = LittleEndianBytes()
        bytes.put(UInt16(type), UInt16(attribute.name.count - prefix.count))
        bytes.put(Array(attribute.name.dropFirst(prefix.count)))
        bytes.put(UInt32(attribute.value.count))
        bytes.put(attribute.value)
        return bytes.bytes
    }
}
