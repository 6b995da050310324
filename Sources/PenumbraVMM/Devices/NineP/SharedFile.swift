// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraSystem

/// A file of a share, of whatever kind, by a descriptor that can be asked about it and cannot read or
/// write (O_PATH): opening one has no effect on a device or a pipe. It stays the same file when the host
/// renames or removes it, and what is done to it goes through the descriptor, not through its name again.
final class SharedFile: Sendable {
    struct Identity: Hashable {
        let device: UInt64
        let number: UInt64
    }

    let descriptor: Descriptor
    let identity: Identity
    /// S_IFREG, S_IFDIR, ...: of a file that never changes.
    let type: mode_t
    /// Where it was found; nil: it is the share's root.
    let place: (directory: Descriptor, name: NinePName)?

    init(_ descriptor: Descriptor, place: (directory: Descriptor, name: NinePName)?) throws(NinePFailure) {
        (self.descriptor, self.place) = (descriptor, place)
        let information = try descriptor.information()
        identity = Identity(information)
        type = information.st_mode & S_IFMT
    }

    var isDirectory: Bool { type == S_IFDIR }

    /// The file of that name in this directory: no link is followed, no other mount entered (EXDEV).
    func entry(_ name: NinePName) throws(NinePFailure) -> SharedFile {
        try requireDirectory()
        let number = try attempt { Int(linux_open_entry(descriptor.number, name.text)) }
        return try SharedFile(Descriptor(adopting: Int32(number)), place: (descriptor, name))
    }

    func requireDirectory() throws(NinePFailure) {
        guard isDirectory else { throw NinePFailure(ENOTDIR) }
    }

    /// The way to this very file for calls that take no descriptor of this kind. It leads to a symbolic
    /// link itself, never on to the link's target (proc(5)).
    var path: String { Self.path(of: descriptor) }

    static func path(of descriptor: Descriptor) -> String { "/proc/self/fd/\(descriptor.number)" }

    /// Opens the file itself: for reading, writing or both. A device, a pipe or a socket is never
    /// opened; the guest's kernel has its own.
    func open(_ flags: Int32) throws(NinePFailure) -> Descriptor {
        guard type == S_IFREG || type == S_IFDIR else { throw NinePFailure(type == S_IFLNK ? ELOOP : EPERM) }
        return try Self.open(path, flags | (isDirectory ? O_DIRECTORY : 0))
    }

    static func open(_ path: String, _ flags: Int32) throws(NinePFailure) -> Descriptor {
        Descriptor(
            adopting: Int32(
                try attempt { Int(Glibc.open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) }))
    }

    /// Whether it can still be found where it was.
    func isInPlace() throws(NinePFailure) -> Bool {
        guard let place else { return false }
        var information = stat()
        try attempt {
            Int(fstatat(place.directory.number, place.name.text, &information, AT_SYMLINK_NOFOLLOW))
        }
        return Identity(information) == identity
    }
}

extension SharedFile.Identity {
    init(_ information: stat) {
        self.init(device: UInt64(information.st_dev), number: UInt64(information.st_ino))
    }
}

extension Descriptor {
    func information() throws(NinePFailure) -> stat {
        var information = stat()
        try attempt { Int(fstat(number, &information)) }
        return information
    }
}

/// An entry of a directory as getdents64(2) gives it:
///
///     file's number, 8 bytes    where the next entry is, 8    size of this one, 2    type, 1    name, and 0
struct DirectoryEntry {
    /// Of one with the longest name, in bytes.
    static let largest = 280

    private enum Field {
        static let next = 8
        static let size = 16
        static let type = 18
        static let name = 19
    }

    let number: UInt64
    /// Where to go on behind this one.
    let next: UInt64
    let type: UInt8
    let name: [UInt8]

    var isDirectory: Bool { Int(type) == Int(DT_DIR) }
    var isLink: Bool { Int(type) == Int(DT_LNK) }

    static func list(_ bytes: ArraySlice<UInt8>) -> [DirectoryEntry] {
        var (entries, rest) = ([DirectoryEntry](), bytes)
        // The kernel writes whole entries only.
        while let size = rest.number(at: Field.size, as: UInt16.self), size > 0 {
            let entry = rest.prefix(Int(size))
            entries.append(
                DirectoryEntry(
                    number: entry.number(at: 0, as: UInt64.self)!,
                    next: entry.number(at: Field.next, as: UInt64.self)!,
                    type: entry[entry.startIndex + Field.type],
                    name: Array(entry.dropFirst(Field.name).prefix { $0 != 0 })))
            rest = rest.dropFirst(Int(size))
        }
        return entries
    }
}
