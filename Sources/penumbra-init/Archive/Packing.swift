// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraSystem

/// Writes a file or a tree as a tar archive to standard output.
struct Packing {
    private let output = Descriptor(adopting: STDOUT_FILENO)
    /// Files of several links that are in the archive, by device and inode.
    private var linked: [Inode: [UInt8]] = [:]

    private struct Inode: Hashable {
        let device: UInt64
        let number: UInt64
    }

    /// Says whether it could; what could not be read is named on `errors`.
    /// - Parameter followsLink: a link at `path` itself stands for what it leads to.
    static func run(_ path: [UInt8], followsLink: Bool, _ errors: Descriptor) -> Bool {
        var packing = Packing()
        do throws(SystemError) {
            try packing.add(followsLink ? Tree.resolved(path) : path, as: lastComponent(path))
            try packing.output.write([UInt8](repeating: 0, count: 2 * TarHeader.blockSize))
            return true
        } catch {
            _ = try? errors.write(Array("\(error.description)\n".utf8))
            return false
        }
    }

    private static func lastComponent(_ path: [UInt8]) -> [UInt8] {
        path.split(separator: UInt8(ascii: "/")).last.map { Array($0) } ?? [UInt8(ascii: ".")]
    }

    private mutating func add(_ path: [UInt8], as name: [UInt8]) throws(SystemError) {
        let information = try Tree.information(path)
        var header = TarHeader()
        header.name = name
        header.mode = information.st_mode
        (header.user, header.group) = (information.st_uid, information.st_gid)
        header.modified = Int64(information.st_mtim.tv_sec)
        switch information.st_mode & S_IFMT {
        case S_IFDIR: try addDirectory(path, header)
        case S_IFLNK:
            header.kind = .symbolicLink
            header.link = try Tree.linkTarget(path)
            try output.write(header.bytes())
        case S_IFREG: try addFile(path, header, information)
        case S_IFCHR: try addDevice(.characterDevice, header, information)
        case S_IFBLK: try addDevice(.blockDevice, header, information)
        case S_IFIFO: try addDevice(.pipe, header, information)
        // A socket is a process's, and nothing without it.
        default: return
        }
    }

    private mutating func addDirectory(_ path: [UInt8], _ header: TarHeader) throws(SystemError) {
        var header = header
        header.kind = .directory
        let name = header.name
        header.name.append(UInt8(ascii: "/"))
        try output.write(header.bytes())
        for child in try Tree.names(in: path) {
            do throws(SystemError) {
                try add(Tree.join(path, child), as: Tree.join(name, child))
            } catch {
                // Processes of the container go on meanwhile: what is gone is not in the archive.
                guard error.code == ENOENT else { throw error }
            }
        }
    }

    private func addDevice(
        _ kind: TarHeader.Kind, _ header: TarHeader, _ information: stat
    ) throws(SystemError) {
        var header = header
        header.kind = kind
        if kind != .pipe {
            (header.major, header.minor) = (
                init_major(UInt64(information.st_rdev)), init_minor(UInt64(information.st_rdev))
            )
        }
        try output.write(header.bytes())
    }

    private mutating func addFile(
        _ path: [UInt8], _ header: TarHeader, _ information: stat
    ) throws(SystemError) {
        var header = header
        let inode = Inode(device: UInt64(information.st_dev), number: UInt64(information.st_ino))
        if information.st_nlink > 1 {
            if let first = linked[inode] {
                header.kind = .hardLink
                header.link = first
                return try output.write(header.bytes())
            }
            linked[inode] = header.name
        }
        let file = try Tree.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        header.size = UInt64(information.st_size)
        try output.write(header.bytes())
        try copy(file, header.size)
    }

    /// As many bytes as the header says: a file that changes meanwhile is cut, or filled up with zeros.
    private func copy(_ file: Descriptor, _ size: UInt64) throws(SystemError) {
        var rest = size
        while rest > 0 {
            let wanted = Int(min(rest, 64 << 10))
            var bytes = try file.read(atMost: wanted) ?? []
            if bytes.isEmpty { bytes = [UInt8](repeating: 0, count: wanted) }
            try output.write(bytes)
            rest -= UInt64(bytes.count)
        }
        try output.write([UInt8](repeating: 0, count: TarHeader.padding(after: size)))
    }
}
