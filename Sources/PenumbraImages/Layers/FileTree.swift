// SPDX-License-Identifier: Apache-2.0

/// A file, whatever its names.
final class FileNode {
    enum Kind: Equatable {
        /// Where its content is, unless it has none.
        case file(size: UInt64, ContentPlace?)
        case symbolicLink(target: [UInt8])
        case characterDevice(DeviceNumber)
        case blockDevice(DeviceNumber)
        case fifo
        case directory
    }

    /// The content of the `member`th member of layer `layer`, both counted from 0.
    struct ContentPlace: Hashable {
        let layer: Int
        let member: Int
    }

    let kind: Kind
    var metadata: FileMetadata

    init(_ kind: Kind, _ metadata: FileMetadata) { (self.kind, self.metadata) = (kind, metadata) }
}

/// A name in a directory.
final class TreeEntry {
    let file: FileNode
    /// Of a directory.
    var children: [[UInt8]: TreeEntry] = [:]
    /// The last layer that has a member of this name; whiteouts of the same layer leave it alone.
    var layer: Int
    /// The last layer that made this directory opaque: doing it again takes nothing more away.
    var opaqueLayer: Int?
    private(set) weak var parent: TreeEntry?
    let depth: Int

    init(_ file: FileNode, layer: Int, parent: TreeEntry?) {
        (self.file, self.layer, self.parent) = (file, layer, parent)
        depth = parent.map { $0.depth + 1 } ?? 0
    }

    var isDirectory: Bool { file.kind == .directory }

    /// By name, as bytes.
    var sortedChildren: [(name: [UInt8], entry: TreeEntry)] {
        children.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { ($0.key, $0.value) }
    }
}

/// The files of an image while its layers are laid over each other. No path leads out of it: names are
/// only ever looked up in entries, symbolic links on the way to a member's directory are followed from
/// this root, and ".." at the root stays there.
struct FileTree {
    /// Entries of an image, hidden ones counted too; each costs a few hundred bytes of memory.
    static let maximumEntries = 1_000_000
    /// As deep as a path of 4096 bytes reaches.
    static let maximumDepth = LinuxLimits.path / 2
    /// Symbolic links on the way to one name, as in Linux (MAXSYMLINKS).
    private static let maximumLinks = 40

    let root = TreeEntry(FileNode(.directory, FileMetadata()), layer: 0, parent: nil)
    private var count = 0

    /// Puts `file` at a name, in place of what is there; a directory over a directory keeps its entries.
    mutating func put(_ file: FileNode, at path: EntryPath, layer: Int) throws(ImageError) {
        guard let name = path.names.last else {
            guard file.kind == .directory else {
                throw .hostilePath(path: path.text, reason: "puts something in place of the root")
            }
            root.file.metadata = file.metadata
            return
        }
        let parent = try makeDirectory(path, layer: layer)
        if let old = parent.children[name], old.isDirectory, file.kind == .directory {
            old.file.metadata = file.metadata
            old.layer = layer
        } else {
            parent.children[name] = try newEntry(file, layer: layer, parent: parent, path)
        }
    }

    /// The file that a hard link names: it must be there already, in this layer or below.
    func file(at path: EntryPath) throws(ImageError) -> FileNode {
        guard let name = path.names.last, let parent = try directory(of: path),
            let entry = parent.children[name]
        else { throw .hostilePath(path: path.text, reason: "is linked to and does not exist") }
        guard !entry.isDirectory else {
            throw .hostilePath(path: path.text, reason: "is a hard link to a directory")
        }
        return entry.file
    }

    /// Takes a name away that lower layers have; there may be none.
    func hide(_ name: [UInt8], besides path: EntryPath, layer: Int) throws(ImageError) {
        guard let parent = try directory(of: path), let entry = parent.children[name] else { return }
        if !Self.survives(entry, whiteoutIn: layer) { parent.children[name] = nil }
    }

    /// Takes everything away that lower layers have in the directory of `path`.
    func hideAll(besides path: EntryPath, layer: Int) throws(ImageError) {
        guard let directory = try directory(of: path), directory.opaqueLayer != layer else { return }
        directory.opaqueLayer = layer
        _ = Self.survives(directory, whiteoutIn: layer)
    }

    /// Leaves of an entry what `layer` itself has put there; says whether that is anything.
    private static func survives(_ entry: TreeEntry, whiteoutIn layer: Int) -> Bool {
        entry.children = entry.children.filter { survives($0.value, whiteoutIn: layer) }
        return entry.layer == layer || !entry.children.isEmpty
    }

    // MARK: The way to a directory

    private mutating func newEntry(
        _ file: FileNode, layer: Int, parent: TreeEntry, _ path: EntryPath
    ) throws(ImageError) -> TreeEntry {
        count += 1
        guard count <= Self.maximumEntries else {
            throw .tooLarge(what: "the image's number of files", limit: "\(Self.maximumEntries)")
        }
        guard parent.depth < Self.maximumDepth else {
            throw .hostilePath(path: path.text, reason: "lies deeper than any path can lead")
        }
        return TreeEntry(file, layer: layer, parent: parent)
    }

    /// The directory of `path`'s last name; those on the way that no layer has become root's.
    private mutating func makeDirectory(_ path: EntryPath, layer: Int) throws(ImageError) -> TreeEntry {
        var walk = Walk(root: root, path)
        while let missing = try walk.advance() {
            let directory = FileNode(.directory, FileMetadata())
            let entry = try newEntry(directory, layer: layer, parent: walk.place, path)
            walk.place.children[missing] = entry
            walk.place = entry
        }
        return walk.place
    }

    /// The same; nil where a name on the way is missing.
    private func directory(of path: EntryPath) throws(ImageError) -> TreeEntry? {
        var walk = Walk(root: root, path)
        return try walk.advance() == nil ? walk.place : nil
    }

    /// The way from the root through directories and symbolic links.
    private struct Walk {
        let root: TreeEntry
        let path: EntryPath
        var place: TreeEntry
        /// Names still to go, the next one last.
        private var rest: [[UInt8]]
        private var links = 0

        init(root: TreeEntry, _ path: EntryPath) {
            (self.root, self.path, place) = (root, path, root)
            rest = path.names.dropLast().reversed()
        }

        /// Goes as far as there are directories. Returns the first name that is missing, which is then
        /// taken for gone, or nil at the way's end.
        mutating func advance() throws(ImageError) -> [UInt8]? {
            while let name = rest.popLast() {
                if name == EntryPath.dot { continue }
                if name == EntryPath.dotDot {
                    place = place.parent ?? root
                    continue
                }
                guard let next = place.children[name] else { return name }
                switch next.file.kind {
                case .directory: place = next
                case .symbolicLink(let target): try follow(target)
                default:
                    throw .hostilePath(
                        path: path.text, reason: "leads through something that is no directory")
                }
            }
            return nil
        }

        private mutating func follow(_ target: [UInt8]) throws(ImageError) {
            links += 1
            guard links <= FileTree.maximumLinks else {
                throw .hostilePath(path: path.text, reason: "leads through too many symbolic links")
            }
            let names = EntryPath.components(target)
            guard names.allSatisfy({ $0.count <= LinuxLimits.name }) else {
                throw .hostilePath(path: path.text, reason: "leads to a name longer than Linux takes")
            }
            if EntryPath.isAbsolute(target) { place = root }
            rest += names.reversed()
        }
    }
}
