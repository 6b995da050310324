// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// Writes a file or a tree of this host's as a tar stream. Links are written as they are, never followed;
/// sockets are left out, as nothing without their processes. A file that changes meanwhile is cut, or
/// filled up with zeros, to the size that it had.
public struct TreePacking {
    private struct Inode: Hashable {
        let device: UInt64
        let number: UInt64
    }

    private let writer: TarWriter
    private let attributes: TreeExtraction.Attributes
    /// Files of several links that are in the stream, by the name of the first.
    private var linked: [Inode: [UInt8]] = [:]
    /// Of all files so far.
    public private(set) var byteCount: UInt64 = 0

    /// - Parameter attributes: `.ours`: everything belongs to root in the stream.
    public init(to output: Descriptor, attributes: TreeExtraction.Attributes) {
        writer = TarWriter(to: output)
        self.attributes = attributes
    }

    /// Writes the file or directory of that name, called `top` in the stream, and the stream's end.
    public mutating func write(_ name: [UInt8], in parent: Directory, as top: [UInt8]) throws {
        guard let information = try parent.information(name) else {
            throw CopyError.failed(
                path: copyText([name]), SystemError(call: "stat", subject: copyText([name]), code: ENOENT))
        }
        if information.st_mode & S_IFMT == S_IFSOCK {
            throw CopyError.unsupported(path: copyText([name]), what: "a socket")
        }
        try add(name, information, in: parent, as: top)
        try writer.finish()
    }

    private mutating func add(
        _ name: [UInt8], _ information: stat, in parent: Directory, as path: [UInt8]
    ) throws {
        var entry = TarEntry(path: path, kind: .file, metadata: metadata(information))
        switch information.st_mode & S_IFMT {
        case S_IFDIR: return try addDirectory(name, entry, in: parent)
        case S_IFREG: return try addFile(name, entry, in: parent)
        case S_IFLNK: entry.kind = .symbolicLink(target: try parent.linkTarget(name))
        case S_IFCHR: entry.kind = .characterDevice(DeviceNumber(information))
        case S_IFBLK: entry.kind = .blockDevice(DeviceNumber(information))
        case S_IFIFO: entry.kind = .fifo
        default: return
        }
        try begin(entry)
    }

    private func metadata(_ information: stat) -> FileMetadata {
        FileMetadata(
            permissions: UInt16(information.st_mode & 0o7777),
            owner: attributes == .owners ? information.st_uid : 0,
            group: attributes == .owners ? information.st_gid : 0,
            modified: UInt32(clamping: information.st_mtim.tv_sec))
    }

    private mutating func begin(_ entry: TarEntry) throws {
        byteCount += entry.size
        try writer.begin(entry)
    }

    private mutating func addDirectory(_ name: [UInt8], _ entry: TarEntry, in parent: Directory) throws {
        let directory = try parent.directory(name)
        var entry = entry
        let path = entry.path
        entry.kind = .directory
        entry.path.append(UInt8(ascii: "/"))
        try begin(entry)
        for child in try directory.names() {
            do {
                guard let information = try directory.information(child) else { continue }
                try add(child, information, in: directory, as: path + [UInt8(ascii: "/")] + child)
            } catch let error as SystemError where error.code != EPIPE {
                // What is gone meanwhile is not in the stream. A reader that is gone is no file's error.
                guard error.code == ENOENT else {
                    throw CopyError.failed(path: printable(path + [UInt8(ascii: "/")] + child), error)
                }
            }
        }
    }

    private mutating func addFile(_ name: [UInt8], _ entry: TarEntry, in parent: Directory) throws {
        let file = try parent.open(name, O_RDONLY | O_NONBLOCK)
        let information = try file.fileInformation()
        var entry = entry
        let inode = Inode(device: UInt64(information.st_dev), number: UInt64(information.st_ino))
        if information.st_nlink > 1 {
            if let first = linked[inode] {
                entry.kind = .hardLink(target: first)
                return try begin(entry)
            }
            linked[inode] = entry.path
        }
        entry.size = UInt64(information.st_size)
        try begin(entry)
        var rest = entry.size
        while rest > 0 {
            let wanted = Int(min(rest, UInt64(StreamSize.chunk)))
            var bytes = try file.read(atMost: wanted) ?? []
            if bytes.isEmpty { bytes = [UInt8](repeating: 0, count: wanted) }
            try writer.write(bytes)
            rest -= UInt64(bytes.count)
        }
        try writer.endContent(of: entry)
    }
}

extension DeviceNumber {
    /// st_rdev as Linux has it for programs (makedev(3)): parts of both numbers in turns.
    fileprivate init(_ information: stat) {
        let device = UInt64(information.st_rdev)
        self.init(
            major: UInt32(truncatingIfNeeded: device >> 8 & 0xfff | device >> 32 & ~0xfff),
            minor: UInt32(truncatingIfNeeded: device & 0xff | device >> 12 & 0xffff_ff00))
    }
}
