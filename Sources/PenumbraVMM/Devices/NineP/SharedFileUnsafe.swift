// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraSystem

/// Calls that move a file's bytes, names and attributes to and from arrays. Every pointer is an array's,
/// for the time of the call, with the array's own count beside it.
extension Descriptor {
    /// Appends up to `count` bytes from `position` on. False: without `mayWait` that was not possible yet,
    /// and nothing was appended.
    func read(
        onto bytes: inout [UInt8], atMost count: Int, from position: UInt64, mayWait: Bool
    ) throws(NinePFailure) -> Bool {
        let start = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: count))
        var taken = 0
        do throws(NinePFailure) {
            taken = try attempt {
                bytes.withUnsafeMutableBytes { buffer in
                    var piece = iovec(iov_base: buffer.baseAddress! + start, iov_len: count)
                    return linux_preadv(number, &piece, 1, position, mayWait ? 0 : 1)
                }
            }
        } catch {
            bytes.removeLast(count)
            if error.code == EAGAIN && !mayWait { return false }
            throw error
        }
        bytes.removeLast(count - taken)
        if taken == count || mayWait { return true }
        // What does not have to be waited for may be less than there is.
        if position + UInt64(taken) >= UInt64(try information().st_size) { return true }
        bytes.removeLast(taken)
        return false
    }

    /// Writes at `position`; says how many of the bytes went.
    func write(_ bytes: ArraySlice<UInt8>, at position: UInt64) throws(NinePFailure) -> Int {
        try attempt {
            bytes.withUnsafeBytes { pwrite(number, $0.baseAddress, $0.count, off_t(position)) }
        }
    }

    /// A symbolic link's target; the descriptor is the link's own.
    func linkTarget() throws(NinePFailure) -> [UInt8] {
        var target = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = try attempt { readlinkat(number, "", &target, target.count) }
        return target.prefix(count).map { UInt8(bitPattern: $0) }
    }

    /// The next entries of an open directory, `size` bytes of getdents64(2) at most; none: the end.
    func directoryEntries(_ size: Int) throws(NinePFailure) -> [DirectoryEntry] {
        var bytes = [UInt8](repeating: 0, count: size)
        let count = try attempt {
            bytes.withUnsafeMutableBytes { linux_directory_entries(number, $0.baseAddress!, $0.count) }
        }
        return DirectoryEntry.list(bytes.prefix(count))
    }
}

/// Attributes of a file by a path under /proc/self/fd.
enum ExtendedAttributes {
    /// XATTR_SIZE_MAX and XATTR_LIST_MAX of Linux.
    static let sizeLimit = 64 << 10

    static func value(of path: String, _ name: [CChar]) throws(NinePFailure) -> [UInt8] {
        try bytes { getxattr(path, name, $0, $1) }
    }

    /// Names, each with a zero byte behind it.
    static func names(of path: String) throws(NinePFailure) -> [UInt8] {
        try bytes { buffer, size in
            listxattr(path, buffer?.assumingMemoryBound(to: CChar.self), size)
        }
    }

    static func set(
        _ path: String, _ name: [CChar], to value: [UInt8], flags: Int32
    ) throws(NinePFailure) {
        try attempt { Int(setxattr(path, name, value, value.count, flags)) }
    }

    private static func bytes(
        _ call: (UnsafeMutableRawPointer?, Int) -> Int
    ) throws(NinePFailure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: sizeLimit)
        let count = try attempt { bytes.withUnsafeMutableBytes { call($0.baseAddress, $0.count) } }
        return Array(bytes.prefix(count))
    }
}
