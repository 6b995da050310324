// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Content by its digest.
struct BlobStore {
    let layout: StoreLayout

    func contains(_ digest: Digest) -> Bool { Files.exists(layout.blob(digest)) }

    func size(_ digest: Digest) throws -> UInt64 { try Files.size(layout.blob(digest)) }

    /// Keeps what `source` gives if that has this digest.
    func add(_ digest: Digest, from source: ByteSource, _ what: String) throws {
        let file = try layout.newFile()
        let found = try Self.copy(source, to: file, layout)
        guard found == digest else {
            throw ImageError.digestMismatch(of: what, expected: digest, found: found)
        }
        try layout.keep(file, as: layout.blob(digest))
    }

    func add(_ bytes: [UInt8]) throws -> Digest {
        let digest = Digest.of(bytes)
        if contains(digest) { return digest }
        let file = try layout.newFile()
        try ImageError.whileWriting(file.path) { () throws(SystemError) in try file.descriptor().write(bytes)
        }
        try layout.keep(file, as: layout.blob(digest))
        return digest
    }

    /// Copies to the end and returns the digest.
    static func copy(_ source: ByteSource, to file: TemporaryFile, _ layout: StoreLayout) throws -> Digest {
        let stream = HashingSource(source)
        while true {
            let bytes = try stream.read(atMost: StreamSize.chunk)
            if bytes.isEmpty { return stream.digest }
            try ImageError.whileWriting(file.path) { () throws(SystemError) in
                try file.descriptor().write(bytes)
            }
            layout.step("wrote to \(file.path)")
        }
    }

    /// A blob that fits into memory, checked again: disks forget.
    func read(_ digest: Digest, _ what: String) throws -> [UInt8] {
        guard contains(digest) else { throw ImageError.damaged(what, "the store lost blob \(digest.short)") }
        let bytes = try Files.read(layout.blob(digest))
        let found = Digest.of(bytes)
        guard found == digest else {
            throw ImageError.digestMismatch(of: what, expected: digest, found: found)
        }
        return bytes
    }
}
