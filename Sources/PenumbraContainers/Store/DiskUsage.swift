// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

extension Files {
    /// Directories in directories that are looked into: each costs a descriptor while it is.
    private static let depth = 256

    /// What a directory and all that is in it take on the disk, in bytes: a file of several names once, what
    /// is behind a link not at all. What is gone meanwhile, or below 256 levels, is not counted.
    static func occupied(_ path: String) -> UInt64 {
        guard let directory = try? Directory(path: Array(path.utf8)) else { return 0 }
        var counted: Set<UInt64> = []
        return occupied(directory, depth, &counted)
    }

    private static func occupied(_ directory: Directory, _ depth: Int, _ counted: inout Set<UInt64>) -> UInt64
    {
        // Of fstat(2): in units of 512 bytes, whatever the file system's own are.
        var sum = UInt64((try? directory.descriptor.fileInformation().st_blocks) ?? 0) * 512
        for name in (try? directory.names()) ?? [] {
            guard let information = try? directory.information(name) else { continue }
            if information.st_mode & S_IFMT == S_IFDIR {
                guard depth > 0, let child = try? directory.directory(name) else { continue }
                sum += occupied(child, depth - 1, &counted)
            } else if information.st_nlink == 1 || counted.insert(UInt64(information.st_ino)).inserted {
                sum += UInt64(information.st_blocks) * 512
            }
        }
        return sum
    }
}
