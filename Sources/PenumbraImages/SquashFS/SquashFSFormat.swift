// SPDX-License-Identifier: Apache-2.0

/// Numbers of squashfs 4.0 (Linux: fs/squashfs/squashfs_fs.h, Documentation/filesystems/squashfs.rst).
enum SquashFSFormat {
    static let magic: UInt32 = 0x7371_7368
    static let superblockSize = 96
    /// Of data, in bytes: what one read of a file unpacks at least.
    static let blockSizeLog = 17
    static let blockSize = 1 << blockSizeLog
    static let metadataBlockSize = 8192
    static let zstd: UInt16 = 6
    /// In the size of a data block: it is stored as it is.
    static let storedBlock: UInt32 = 1 << 24
    /// In the size of a metadata block.
    static let storedMetadata: UInt16 = 1 << 15
    /// "No fragment", "no attributes".
    static let none: UInt32 = 0xffff_ffff
    /// "No such table".
    static let noTable: UInt64 = .max
    /// The file system is padded to this many bytes, for block devices.
    static let padding = 4096
    /// Of owners and groups together: their places in the table have 16 bits.
    static let maximumIDs = 1 << 16
    /// What a directory's size counts beside its entries: "." and "..".
    static let emptyDirectorySize = 3
    static let entriesPerHeader = 256

    /// In directories; an inode's type is this, or this and `extended`.
    enum InodeType: UInt16 {
        case directory = 1
        case file, symbolicLink, blockDevice, characterDevice, fifo
        /// With attributes, and for files hard links and sizes of 64 bits.
        static let extended: UInt16 = 7
    }

    /// Prefixes of attributes' names, by their number in the format.
    static let attributePrefixes = ["user.", "trusted.", "security."].map { Array($0.utf8) }
}

/// Little-endian numbers, one after the other.
struct LittleEndianBytes {
    private(set) var bytes: [UInt8] = []

    mutating func put<Number: FixedWidthInteger & UnsignedInteger>(_ numbers: Number...) {
        for number in numbers {
            for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: number >> Number(shift)))
            }
        }
    }

    mutating func put(_ more: [UInt8]) { bytes += more }
}
