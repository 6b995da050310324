// SPDX-License-Identifier: Apache-2.0

/// Lays an image's layers over each other and writes what is to be seen into one read-only file system.
///
/// A layer is a tar stream, packed or not; it can only be read from its beginning, and may be larger than
/// memory. So each is read twice:
///
///  1. From the lowest layer to the highest, all headers. A tree holds what the layers so far amount to;
///     in place of a file's content it holds where that content is (layer, member). On the way the
///     stream's digest is compared with the one in the image's configuration.
///  2. In the same order, the content of those files that are still in the tree, straight into the
///     file system. Its directories and inodes are written last, from the tree.
///
/// How members that mean the same name are resolved:
///
///  - The later member wins, within a layer too. A directory over a directory gets the later one's owner,
///    times, permissions and attributes and keeps its entries; anything else takes the whole place.
///  - ".wh.NAME" hides NAME, ".wh..wh..opq" all entries of its directory, but only what lower layers have
///    put there, wherever in its layer the whiteout stands: each entry knows the last layer that named it.
///  - A hard link is one more name of the file that has its target's name at that moment, even a lower
///    layer's. A name that is hidden or replaced later leaves the file's other names alone.
///  - A symbolic link on the way to a member's directory is followed, from the image's root, as for a
///    process whose root that is; the member's own name and a hard link's target are not followed.
///  - A directory that no member names is root's, with permissions 755.
struct LayerMerge {
    /// A layer in the store.
    struct Layer {
        let path: String
        /// Of the unpacked stream.
        let digest: Digest
    }

    /// Of all files of all layers together, in bytes; packed, a bomb of zeros is a thousandth of that.
    static let maximumContent: UInt64 = 256 << 30

    /// Members of all layers together, and the bytes of their names, targets and attributes, which are
    /// kept in memory: packed, one header can give attributes to each of them.
    private static let maximumMembers = 4 * FileTree.maximumEntries
    private static let maximumMetadata = 512 << 20

    private let layers: [Layer]
    private let progress: (String) -> Void
    private var tree = FileTree()
    private var contentSize: UInt64 = 0
    private var memberCount = 0
    private var metadataSize = 0
    private var attributes = AttributeFilter()

    init(_ layers: [Layer], progress: @escaping (String) -> Void = { _ in }) {
        (self.layers, self.progress) = (layers, progress)
    }

    /// Reads the layers and writes the file system.
    mutating func write(to writer: SquashFSWriter) throws {
        for (index, layer) in layers.enumerated() {
            progress("reading layer \(index + 1) of \(layers.count) (\(layer.digest.short))")
            try add(layer, index)
        }
        if let complaint = attributes.complaint { progress(complaint) }
        let wanted = Self.contents(below: tree.root)
        var stored: [FileNode.ContentPlace: SquashFSContent] = [:]
        for (index, layer) in layers.enumerated() {
            guard let members = wanted[index] else { continue }
            progress("unpacking layer \(index + 1) of \(layers.count) (\(layer.digest.short))")
            try copy(members, of: layer, index, to: writer) { stored[$0] = $1 }
        }
        try writer.finish(tree.root, contents: stored)
    }

    // MARK: The first pass

    private mutating func add(_ layer: Layer, _ index: Int) throws {
        let stream = HashingSource(try Compression.unpacking(try DescriptorSource(path: layer.path)))
        let reader = TarReader(stream)
        var member = 0
        while let entry = try reader.next() {
            try add(entry, FileNode.ContentPlace(layer: index, member: member))
            member += 1
        }
        try reader.drain()
        guard stream.digest == layer.digest else {
            throw ImageError.digestMismatch(
                of: "layer \(index + 1), unpacked,", expected: layer.digest, found: stream.digest)
        }
    }

    private mutating func add(_ entry: TarEntry, _ place: FileNode.ContentPlace) throws {
        contentSize += min(entry.size, Self.maximumContent)
        guard contentSize <= Self.maximumContent else {
            throw ImageError.tooLarge(what: "the image's content", limit: "\(Self.maximumContent >> 30) GiB")
        }
        try account(for: entry)
        let path = try EntryPath(entry.path)
        switch try Whiteout(path) {
        case .name(let name): try tree.hide(name, besides: path, layer: place.layer)
        case .opaque: try tree.hideAll(besides: path, layer: place.layer)
        case .ignored: break
        case nil: try tree.put(try file(entry, path, place), at: path, layer: place.layer)
        }
    }

    private mutating func account(for entry: TarEntry) throws {
        memberCount += 1
        guard memberCount <= Self.maximumMembers else {
            throw ImageError.tooLarge(what: "the image's number of members", limit: "\(Self.maximumMembers)")
        }
        metadataSize += entry.path.count + entry.kind.targetSize
        metadataSize += entry.metadata.attributes.reduce(0) { $0 + $1.name.count + $1.value.count + 64 }
        guard metadataSize <= Self.maximumMetadata else {
            throw ImageError.tooLarge(
                what: "what the image's files are called and have for attributes",
                limit: "\(Self.maximumMetadata >> 20) MiB")
        }
    }

    private mutating func file(
        _ entry: TarEntry, _ path: EntryPath, _ place: FileNode.ContentPlace
    ) throws -> FileNode {
        var metadata = entry.metadata
        metadata.attributes = attributes.kept(metadata.attributes)
        switch entry.kind {
        case .hardLink(let target): return try tree.file(at: try EntryPath(target))
        case .file:
            return FileNode(.file(size: entry.size, entry.size > 0 ? place : nil), metadata)
        case .directory: return FileNode(.directory, metadata)
        case .fifo: return FileNode(.fifo, metadata)
        case .characterDevice(let device): return FileNode(.characterDevice(device), metadata)
        case .blockDevice(let device): return FileNode(.blockDevice(device), metadata)
        case .symbolicLink(let target):
            guard (1..<LinuxLimits.path).contains(target.count), !target.contains(0) else {
                throw ImageError.hostilePath(
                    path: path.text, reason: "is a symbolic link with a target that Linux would not take")
            }
            return FileNode(.symbolicLink(target: target), metadata)
        }
    }

    // MARK: The second pass

    /// By layer, the members whose content is to be seen, and its size.
    private static func contents(below root: TreeEntry) -> [Int: [Int: UInt64]] {
        var found: [Int: [Int: UInt64]] = [:]
        var rest = [root]
        while let entry = rest.popLast() {
            if case .file(let size, let place?) = entry.file.kind {
                found[place.layer, default: [:]][place.member] = size
            }
            rest += entry.children.values
        }
        return found
    }

    private func copy(
        _ members: [Int: UInt64], of layer: Layer, _ index: Int, to writer: SquashFSWriter,
        stored: (FileNode.ContentPlace, SquashFSContent) -> Void
    ) throws {
        let reader = TarReader(try Compression.unpacking(try DescriptorSource(path: layer.path)))
        var missing = members.count
        var member = 0
        while missing > 0 {
            // The first pass has seen this very stream.
            guard let entry = try reader.next() else { throw Self.changed }
            if let size = members[member] {
                guard entry.size == size else { throw Self.changed }
                let content = try writer.write(size) { try reader.readContent(atMost: $0) }
                stored(FileNode.ContentPlace(layer: index, member: member), content)
                missing -= 1
            }
            member += 1
        }
    }

    private static let changed = ImageError.damaged("a layer", "its file changed while it was read")
}

/// squashfs holds attributes of three namespaces only; POSIX access lists (system.posix_acl_*) are not
/// among them. Those by which an overlay file system marks its own layers are no image's content: they
/// would make the guest's overlay look elsewhere.
private struct AttributeFilter {
    private static let kept = ["user.", "trusted.", "security."].map { Array($0.utf8) }
    private static let refused = Array("trusted.overlay.".utf8)

    private var namesLeftOut: Set<[UInt8]> = []

    mutating func kept(_ attributes: [ExtendedAttribute]) -> [ExtendedAttribute] {
        attributes.filter { attribute in
            let isKept =
                Self.kept.contains { attribute.name.starts(with: $0) && attribute.name.count > $0.count }
                && !attribute.name.starts(with: Self.refused)
            if !isKept, namesLeftOut.count < 10 { namesLeftOut.insert(attribute.name) }
            return isKept
        }
    }

    var complaint: String? {
        guard !namesLeftOut.isEmpty else { return nil }
        let names = namesLeftOut.map { printable($0) }.sorted().joined(separator: ", ")
        return "left out extended attributes that the file system of an image cannot hold: \(names)"
    }
}
