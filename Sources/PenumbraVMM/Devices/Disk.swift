// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraSystem

/// A disk of a guest: a file or a block device of the host's that holds its bytes as they are.
public struct Disk: Equatable, Sendable {
    public var path: String
    public var isReadOnly: Bool
    /// 0 is xvda.
    public var index: Int

    public init(path: String, isReadOnly: Bool = false, index: Int) {
        (self.path, self.isReadOnly, self.index) = (path, isReadOnly, index)
    }

    /// As many as have a letter.
    public static let limit = 26

    /// What Linux calls it.
    public var name: String { "xvd\(Character(UnicodeScalar(UInt8(ascii: "a") + UInt8(index))))" }

    /// Its number on Xen's bus (Xen's docs/man/xen-vbd-interface.7): sixteen minor numbers to a disk, and
    /// another form behind the sixteenth.
    var number: Int { index < 16 ? 202 << 8 | index << 4 : 1 << 28 | index << 8 }
}

/// Why a disk cannot be given to a guest; the text is the user's message.
public enum DiskError: Error, Equatable, CustomStringConvertible {
    case notUsable(SystemError)
    case badSize(path: String, bytes: UInt64)
    case inUse(path: String)
    case badIndex(Int)

    public var description: String {
        switch self {
        case .notUsable(let error): "the disk cannot be used: \(error)"
        case .badSize(let path, let bytes):
            "the disk \(path) has \(bytes) bytes: make it a multiple of \(DiskFile.sectorSize), at least one"
        case .inUse(let path):
            "the disk \(path) is another VM's, or two of this one's, and only read-only disks can be shared: "
                + "end the other one, copy the file, or use it with ':ro' in both"
        case .badIndex(let index):
            "a guest cannot have a disk of number \(index): use 0 to \(Disk.limit - 1), each once"
        }
    }
}

/// An open disk, locked against others' writing for as long as it is open (flock(2); who does not ask
/// for the lock is not held up). Reads and writes are the host's ordinary ones: what was written is on
/// the medium after `flush`, and not before.
final class DiskFile: Sendable {
    static let sectorSize: UInt64 = 512

    let disk: Disk
    let file: Descriptor
    let sectors: UInt64
    /// What the host's file system allocates at a time, in bytes.
    let blockSize: UInt64

    init(_ disk: Disk) throws(DiskError) {
        guard (0..<Disk.limit).contains(disk.index) else { throw .badIndex(disk.index) }
        let (file, size, blockSize): (Descriptor, UInt64, UInt64)
        do throws(SystemError) { (file, size, blockSize) = try Self.open(disk) } catch {
            throw .notUsable(error)
        }
        guard size > 0, size % Self.sectorSize == 0 else { throw .badSize(path: disk.path, bytes: size) }
        guard file.tryLock(shared: disk.isReadOnly) else { throw .inUse(path: disk.path) }
        (self.disk, self.file, self.blockSize) = (disk, file, blockSize)
        sectors = size / Self.sectorSize
    }

    /// The file, its size, and what its file system allocates at a time.
    private static func open(_ disk: Disk) throws(SystemError) -> (Descriptor, UInt64, UInt64) {
        let file = try Descriptor(path: disk.path, flags: disk.isReadOnly ? O_RDONLY : O_RDWR)
        var information = stat()
        try retrying("stat", disk.path) { Int(fstat(file.number, &information)) }
        // A directory has an end, too.
        guard information.st_mode & S_IFMT != S_IFDIR else {
            throw SystemError(call: "open", subject: disk.path, code: EISDIR)
        }
        // For block devices as well, whose st_size is zero.
        let size = try retrying("seek", disk.path) { Int(lseek(file.number, 0, SEEK_END)) }
        return (file, UInt64(size), UInt64(information.st_blksize))
    }

    /// Has everything that was written before on the medium.
    func flush() throws(SystemError) {
        try retrying("fdatasync", disk.path) { Int(fdatasync(file.number)) }
    }

    /// Gives the bytes of these sectors back to the host; they read as zeroes then.
    func discard(_ sectors: Range<UInt64>) throws(SystemError) {
        guard !sectors.isEmpty else { return }
        try retrying("fallocate", disk.path) {
            Int(
                linux_punch_hole(
                    file.number, sectors.lowerBound * Self.sectorSize,
                    UInt64(sectors.count) * Self.sectorSize))
        }
    }
}
