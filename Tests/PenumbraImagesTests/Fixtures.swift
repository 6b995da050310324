// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

@testable import PenumbraImages

/// Bytes in memory as a stream, in pieces of one size.
final class BytesSource: ByteSource {
    private var rest: ArraySlice<UInt8>
    private let piece: Int

    init(_ bytes: [UInt8], piece: Int = .max) { (rest, self.piece) = (bytes[...], piece) }

    func read(atMost count: Int) -> [UInt8] {
        defer { rest = rest.dropFirst(min(count, piece)) }
        return Array(rest.prefix(min(count, piece)))
    }
}

/// A member of an archive in the making.
struct Member {
    var entry: TarEntry
    var content: [UInt8] = []

    init(_ path: [UInt8], _ kind: TarEntry.Kind, _ content: [UInt8] = [], _ metadata: FileMetadata) {
        entry = TarEntry(path: path, kind: kind, metadata: metadata, size: UInt64(content.count))
        self.content = content
    }

    static func file(
        _ path: String, _ content: String = "", permissions: UInt16 = 0o644, owner: UInt32 = 0,
        modified: UInt32 = 1000, attributes: [(String, String)] = []
    ) -> Member {
        let metadata = FileMetadata(
            permissions: permissions, owner: owner, group: owner, modified: modified,
            attributes: attributes.map { ExtendedAttribute(name: Array($0.0.utf8), value: Array($0.1.utf8)) })
        return Member(Array(path.utf8), .file, Array(content.utf8), metadata)
    }

    static func directory(_ path: String, permissions: UInt16 = 0o755, modified: UInt32 = 1000) -> Member {
        Member(Array(path.utf8), .directory, FileMetadata(permissions: permissions, modified: modified))
    }

    static func link(_ path: String, to target: String) -> Member {
        Member(
            Array(path.utf8), .symbolicLink(target: Array(target.utf8)),
            FileMetadata(permissions: 0o777, modified: 1000))
    }

    static func hardLink(_ path: String, to target: String) -> Member {
        Member(Array(path.utf8), .hardLink(target: Array(target.utf8)), FileMetadata())
    }

    init(_ path: [UInt8], _ kind: TarEntry.Kind, _ metadata: FileMetadata) {
        self.init(path, kind, [], metadata)
    }
}

enum Archive {
    /// The bytes of a tar archive.
    static func of(_ members: [Member]) throws -> [UInt8] {
        let directory = try TemporaryDirectory()
        let path = directory.file("archive.tar")
        let writer = TarWriter(to: try Descriptor(path: path, flags: O_WRONLY | O_CREAT, mode: 0o600))
        for member in members {
            try writer.begin(member.entry)
            try writer.write(member.content)
            try writer.endContent(of: member.entry)
        }
        try writer.finish()
        return try Files.read(path)
    }

    /// What a reader finds in an archive.
    static func members(_ bytes: [UInt8], piece: Int = .max) throws -> [Member] {
        let reader = TarReader(BytesSource(bytes, piece: piece))
        var members: [Member] = []
        while let entry = try reader.next() {
            var content: [UInt8] = []
            while true {
                let more = try reader.readContent(atMost: 100)
                if more.isEmpty { break }
                content += more
            }
            members.append(Member(entry.path, entry.kind, content, entry.metadata))
        }
        return members
    }
}

/// What a squashfs holds, told by Debian's unsquashfs.
struct SquashFSListing {
    let file: String
    /// Mode, owner, size or device, and a link's target: all that a line has, but for its time and path.
    let lines: [String: String]

    init(_ file: String) throws {
        self.file = file
        let output = try ChildProcess.output("unsquashfs", ["-d", "", "-lln", file])
        var lines: [String: String] = [:]
        for line in output.split(separator: "\n") {
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard let slash = line.firstRange(of: " /") else {
                if words.count == 5 { lines["/"] = "\(words[0]) \(words[1])" }
                continue
            }
            let parts = line[line.index(after: slash.lowerBound)...].split(separator: " -> ", maxSplits: 1)
            let target = parts.count > 1 ? " -> \(parts[1])" : ""
            let device = words[2].hasSuffix(",") ? "\(words[2])\(words[3])" : String(words[2])
            lines[String(parts[0])] = "\(words[0]) \(words[1]) \(device)\(target)"
        }
        self.lines = lines
    }

    var paths: [String] { lines.keys.filter { $0 != "/" }.sorted() }

    func content(_ path: String) throws -> String {
        try ChildProcess.output("unsquashfs", ["-cat", file, path])
    }
}

/// Layers laid over each other.
final class MergedImage {
    private let directory: TemporaryDirectory
    let listing: SquashFSListing
    private(set) var progress: [String] = []

    init(_ layers: [[Member]]) throws {
        directory = try TemporaryDirectory()
        var sources: [LayerMerge.Layer] = []
        for (index, layer) in layers.enumerated() {
            let bytes = try Archive.of(layer)
            let path = directory.file("layer\(index).tar")
            try Files.write(bytes, to: path)
            sources.append(LayerMerge.Layer(path: path, digest: Digest.of(bytes)))
        }
        listing = try Self.merge(sources, to: directory.file("root.squashfs"))
    }

    var path: String { listing.file }
    var paths: [String] { listing.paths }
    subscript(_ path: String) -> String? { listing.lines[path] }
    func content(_ path: String) throws -> String { try listing.content(path) }

    static func merge(_ layers: [LayerMerge.Layer], to path: String) throws -> SquashFSListing {
        let file = try Descriptor(path: path, flags: O_RDWR | O_CREAT | O_TRUNC, mode: 0o600)
        var merge = LayerMerge(layers)
        try merge.write(to: try SquashFSWriter(to: file, path: path))
        return try SquashFSListing(path)
    }
}
