// SPDX-License-Identifier: Apache-2.0

/// Writes the inodes and directories of a tree. A directory's entries say where their inodes are, so it
/// comes after them; they say their directory's number, so all numbers are given out before.
struct InodeWriter {
    private struct File {
        let number: UInt32
        /// Names; for a directory its own, "." and those that its directories have for it.
        var links: UInt32 = 0
        var place: MetadataTable.Place?
    }

    private(set) var inodes: MetadataTable
    private(set) var directories: MetadataTable
    private(set) var ids = IDTable()
    private(set) var attributes: AttributeTable
    private let contents: [FileNode.ContentPlace: SquashFSContent]
    private var files: [ObjectIdentifier: File] = [:]

    init(_ compressor: ZstdCompressor, contents: [FileNode.ContentPlace: SquashFSContent]) throws {
        inodes = MetadataTable(compressor)
        directories = MetadataTable(compressor)
        attributes = AttributeTable(compressor)
        self.contents = contents
    }

    var count: UInt32 { UInt32(files.count) }

    /// Writes everything below `root`; returns where the root's inode is.
    mutating func write(_ root: TreeEntry) throws -> MetadataTable.Place {
        number(root)
        // The root's parent is no inode: the number after the last one.
        let place = try writeDirectory(root, parent: count + 1)
        try inodes.finish()
        try directories.finish()
        try attributes.values.finish()
        return place
    }

    private mutating func number(_ entry: TreeEntry) {
        let key = ObjectIdentifier(entry.file)
        let next = count + 1
        files[key, default: File(number: next)].links += 1
        guard entry.isDirectory else { return }
        let subdirectories = entry.children.values.count { $0.isDirectory }
        files[key]?.links += 1 + UInt32(subdirectories)
        for child in entry.sortedChildren { number(child.entry) }
    }

    private func file(_ entry: TreeEntry) -> File {
        // Every file of the tree has got its number before.
        files[ObjectIdentifier(entry.file)]!
    }

    private mutating func write(_ entry: TreeEntry, in parent: UInt32) throws -> MetadataTable.Place {
        if entry.isDirectory { return try writeDirectory(entry, parent: parent) }
        if let place = file(entry).place { return place }
        let place = inodes.place
        files[ObjectIdentifier(entry.file)]?.place = place
        try inodes.append(try inode(entry))
        return place
    }

    // MARK: Inodes

    /// What every inode begins with.
    private mutating func header(
        _ type: SquashFSFormat.InodeType, isExtended: Bool, _ entry: TreeEntry
    ) throws -> LittleEndianBytes {
        let metadata = entry.file.metadata
        var bytes = LittleEndianBytes()
        bytes.put(
            type.rawValue + (isExtended ? SquashFSFormat.InodeType.extended : 0), metadata.permissions,
            try ids.index(of: metadata.owner), try ids.index(of: metadata.group))
        bytes.put(metadata.modified, file(entry).number)
        return bytes
    }

    private mutating func inode(_ entry: TreeEntry) throws -> [UInt8] {
        switch entry.file.kind {
        case .file(let size, let place):
            return try fileInode(entry, size, place.flatMap { contents[$0] } ?? SquashFSContent())
        case .symbolicLink(let target):
            var fields = LittleEndianBytes()
            fields.put(UInt32(target.count))
            fields.put(target)
            return try plainInode(.symbolicLink, entry, fields)
        case .characterDevice(let device): return try plainInode(.characterDevice, entry, Self.number(device))
        case .blockDevice(let device): return try plainInode(.blockDevice, entry, Self.number(device))
        case .fifo: return try plainInode(.fifo, entry, LittleEndianBytes())
        case .directory: preconditionFailure("directories are written with their entries")
        }
    }

    /// A header, the number of links, some fields, and attributes if there are any.
    private mutating func plainInode(
        _ type: SquashFSFormat.InodeType, _ entry: TreeEntry, _ fields: LittleEndianBytes
    ) throws -> [UInt8] {
        let set = try attributes.index(of: entry.file.metadata.attributes)
        var bytes = try header(type, isExtended: set != nil, entry)
        bytes.put(file(entry).links)
        bytes.put(fields.bytes)
        if let set { bytes.put(set) }
        return bytes.bytes
    }

    /// Linux's "new" encoding of 12 and 20 bits (include/linux/kdev_t.h).
    private static func number(_ device: DeviceNumber) -> LittleEndianBytes {
        var bytes = LittleEndianBytes()
        bytes.put(device.minor & 0xff | device.major << 8 | (device.minor & ~0xff) << 12)
        return bytes
    }

    private mutating func fileInode(
        _ entry: TreeEntry, _ size: UInt64, _ content: SquashFSContent
    ) throws -> [UInt8] {
        let set = try attributes.index(of: entry.file.metadata.attributes)
        let links = file(entry).links
        let isExtended =
            set != nil || links > 1 || content.sparse > 0 || size > UInt32.max || content.start > UInt32.max
        var bytes = try header(.file, isExtended: isExtended, entry)
        if isExtended {
            bytes.put(content.start, size, content.sparse)
            bytes.put(links, content.fragment, content.fragmentOffset, set ?? SquashFSFormat.none)
        } else {
            bytes.put(UInt32(content.start), content.fragment, content.fragmentOffset, UInt32(size))
        }
        for block in content.blocks { bytes.put(block) }
        return bytes.bytes
    }

    // MARK: Directories

    private mutating func writeDirectory(_ entry: TreeEntry, parent: UInt32) throws -> MetadataTable.Place {
        let own = file(entry)
        var listing = DirectoryListing()
        for (name, child) in entry.sortedChildren {
            let place = try write(child, in: own.number)
            listing.add(name, Self.type(child.file.kind), number: file(child).number, at: place)
        }
        let start = directories.place
        let index = try listing.write(to: &directories)
        let size = listing.size + SquashFSFormat.emptyDirectorySize
        let set = try attributes.index(of: entry.file.metadata.attributes)
        let isExtended = set != nil || !index.isEmpty || size > Int(UInt16.max)
        var bytes = try header(.directory, isExtended: isExtended, entry)
        if isExtended {
            bytes.put(own.links, UInt32(size), start.block, parent)
            bytes.put(UInt16(index.count), start.offset)
            bytes.put(set ?? SquashFSFormat.none)
            for place in index { bytes.put(place.bytes) }
        } else {
            bytes.put(start.block, own.links)
            bytes.put(UInt16(size), start.offset)
            bytes.put(parent)
        }
        let place = inodes.place
        try inodes.append(bytes.bytes)
        return place
    }

    private static func type(_ kind: FileNode.Kind) -> SquashFSFormat.InodeType {
        switch kind {
        case .file: .file
        case .symbolicLink: .symbolicLink
        case .characterDevice: .characterDevice
        case .blockDevice: .blockDevice
        case .fifo: .fifo
        case .directory: .directory
        }
    }
}
