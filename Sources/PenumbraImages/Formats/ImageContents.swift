// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// Files by name, of an image that is to be added to the store.
protocol ImageContents {
    /// For messages.
    var place: String { get }
    func has(_ name: String) -> Bool
    /// A document, of at most `MediaType.maximumDocument` bytes.
    func document(_ name: String) throws -> [UInt8]
    /// Adds a file to the store's blobs, if it has this digest.
    func add(_ digest: Digest, _ name: String, to blobs: BlobStore) throws
    /// The digest of a file's bytes as they are.
    func digest(_ name: String) throws -> Digest
    func source(_ name: String) throws -> ByteSource
    /// Makes a file of the store's of it, without a look at it.
    func keep(_ name: String, as path: String, in layout: StoreLayout) throws
}

extension ImageContents {
    func json(_ name: String) throws -> JSON {
        do { return try JSON(parsing: try document(name)) } catch let problem as JSON.Problem {
            throw ImageError.damaged("\(name) of \(place)", "\(problem)")
        }
    }

    /// Of what the file unpacks to.
    func unpackedDigest(_ name: String) throws -> Digest {
        let stream = HashingSource(try Compression.unpacking(try source(name)))
        try stream.drain()
        return stream.digest
    }

    func missing(_ name: String) -> ImageError { .damaged(place, "\(printable(name.utf8)) is missing") }
}

/// A directory: an OCI layout, or what skopeo made.
struct DirectoryContents: ImageContents {
    let place: String

    private func path(_ name: String) -> String { "\(place)/\(name)" }

    func has(_ name: String) -> Bool { Files.exists(path(name)) }

    func document(_ name: String) throws -> [UInt8] {
        let source = try source(name)
        return try BufferedSource(source).document(printable(name.utf8))
    }

    func add(_ digest: Digest, _ name: String, to blobs: BlobStore) throws {
        try blobs.add(digest, from: try source(name), "\(name) of \(place)")
    }

    func digest(_ name: String) throws -> Digest {
        let stream = HashingSource(try source(name))
        try stream.drain()
        return stream.digest
    }

    func source(_ name: String) throws -> ByteSource {
        guard has(name) else { throw missing(name) }
        return try DescriptorSource(path: path(name))
    }

    func keep(_ name: String, as path: String, in layout: StoreLayout) throws {
        let file = try layout.newFile()
        _ = try BlobStore.copy(try source(name), to: file, layout)
        try layout.keep(file, as: path)
    }
}

/// A tar archive, which may come through a pipe and in any order: its files wait in the store's tmp/.
struct ArchiveContents: ImageContents {
    /// Members of an archive; an image of a thousand layers has some thousand.
    private static let maximumMembers = 100_000

    private struct Member {
        let file: TemporaryFile
        let digest: Digest
    }

    let place: String
    private let layout: StoreLayout
    private var members: [String: Member] = [:]

    /// Unpacks the whole archive.
    init(_ source: ByteSource, place: String, _ layout: StoreLayout) throws {
        (self.place, self.layout) = (place, layout)
        let reader = TarReader(try Compression.unpacking(source))
        var links: [(name: String, target: String)] = []
        var count = 0
        while let entry = try reader.next() {
            count += 1
            guard count <= Self.maximumMembers else {
                throw ImageError.tooLarge(what: "\(place)'s number of files", limit: "\(Self.maximumMembers)")
            }
            let name = Self.name(entry.path)
            switch entry.kind {
            case .file: members[name] = try member(reader)
            case .hardLink(let target): links.append((name, Self.name(target)))
            // Relative to the member's own directory; old versions of docker name equal layers so.
            case .symbolicLink(let target):
                let parent =
                    entry.path.lastIndex(of: UInt8(ascii: "/")).map { Array(entry.path[...$0]) } ?? []
                links.append((name, Self.name(parent + target)))
            default: break
            }
        }
        try reader.drain()
        for link in links { members[link.name] = members[link.target] }
    }

    /// Names are only compared: "." and ".." are resolved as text.
    private static func name(_ path: [UInt8]) -> String {
        var names: [[UInt8]] = []
        for name in EntryPath.components(path) where name != EntryPath.dot {
            if name == EntryPath.dotDot { _ = names.popLast() } else { names.append(name) }
        }
        return String(decoding: Array(names.joined(separator: [UInt8(ascii: "/")])), as: UTF8.self)
    }

    private func member(_ reader: TarReader) throws -> Member {
        let file = try layout.newFile()
        let digest = try BlobStore.copy(MemberSource(reader), to: file, layout)
        // There may be more members than a process may have open files.
        file.close()
        return Member(file: file, digest: digest)
    }

    private final class MemberSource: ByteSource {
        private let reader: TarReader
        init(_ reader: TarReader) { self.reader = reader }
        func read(atMost count: Int) throws -> [UInt8] { try reader.readContent(atMost: count) }
    }

    private func member(_ name: String) throws -> Member {
        guard let member = members[name] else { throw missing(name) }
        return member
    }

    func has(_ name: String) -> Bool { members[name] != nil }

    func document(_ name: String) throws -> [UInt8] {
        try BufferedSource(try source(name)).document(printable(name.utf8))
    }

    func add(_ digest: Digest, _ name: String, to blobs: BlobStore) throws {
        let member = try member(name)
        guard member.digest == digest else {
            throw ImageError.digestMismatch(
                of: "\(printable(name.utf8)) of \(place)", expected: digest, found: member.digest)
        }
        if !blobs.contains(digest) { try layout.keep(member.file, as: layout.blob(digest)) }
    }

    func digest(_ name: String) throws -> Digest { try member(name).digest }

    func keep(_ name: String, as path: String, in layout: StoreLayout) throws {
        try layout.keep(try member(name).file, as: path)
    }

    /// One that has become a blob is read there.
    func source(_ name: String) throws -> ByteSource {
        let member = try member(name)
        return try DescriptorSource(
            path: member.file.isKept ? layout.blob(member.digest) : member.file.path)
    }
}

extension BufferedSource {
    fileprivate func document(_ name: String) throws -> [UInt8] {
        let limit = Int(MediaType.maximumDocument)
        let bytes = try read(exactly: limit + 1)
        guard bytes.count <= limit else {
            throw ImageError.tooLarge(what: name, limit: "\(limit >> 20) MiB")
        }
        return bytes
    }
}
