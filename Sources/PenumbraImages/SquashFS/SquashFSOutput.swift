// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The file that a file system is written to, from its beginning to its end, but for the superblock.
struct SquashFSOutput {
    private let file: Descriptor
    private let path: String
    private(set) var position: UInt64 = 0

    init(_ file: Descriptor, path: String) { (self.file, self.path) = (file, path) }

    mutating func append(_ bytes: [UInt8]) throws {
        try ImageError.whileWriting(path) { () throws(SystemError) in try file.write(bytes) }
        position += UInt64(bytes.count)
    }

    mutating func pad() throws {
        let rest = Int(position % UInt64(SquashFSFormat.padding))
        if rest > 0 { try append([UInt8](repeating: 0, count: SquashFSFormat.padding - rest)) }
    }

    /// Goes back to write what was left open at the beginning.
    func rewrite(_ bytes: [UInt8]) throws {
        try retrying("lseek", path) { Int(lseek(file.number, 0, SEEK_SET)) }
        try ImageError.whileWriting(path) { () throws(SystemError) in try file.write(bytes) }
    }
}
