// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraSystem
import Synchronization

/// What a guest's fid stands for. Requests that use one at the same time as the guest lets it go keep
/// what they use until they are done.
final class NinePFid: Sendable {
    enum Use: Sendable {
        case none
        case file(Descriptor)
        case directory(SharedDirectoryReader)
        /// An extended attribute that is read.
        case attribute([UInt8])
        case newAttribute(NewAttribute)
    }

    /// An extended attribute that is set when its fid goes, to what was written by then.
    struct NewAttribute: Sendable {
        let name: AttributeName
        let size: Int
        let flags: Int32
        var value: [UInt8] = []
    }

    let file: SharedFile
    /// Whom new files belong to.
    let user: UInt32
    let use: Mutex<Use>

    init(_ file: SharedFile, user: UInt32, _ use: Use = .none) {
        (self.file, self.user) = (file, user)
        self.use = Mutex(use)
    }

    private var current: Use { use.withLock { $0 } }

    var isAttribute: Bool {
        switch current {
        case .attribute, .newAttribute: true
        default: false
        }
    }

    var attribute: [UInt8]? {
        if case .attribute(let value) = current { value } else { nil }
    }

    /// The open file.
    func opened() throws(NinePFailure) -> Descriptor {
        switch current {
        case .file(let descriptor): return descriptor
        case .directory: throw NinePFailure(EISDIR)
        default: throw NinePFailure(EBADF)
        }
    }

    func openedDirectory() throws(NinePFailure) -> SharedDirectoryReader {
        guard case .directory(let reader) = current else { throw NinePFailure(EBADF) }
        return reader
    }

    /// What is synchronised: an open file or directory.
    func synchronised() throws(NinePFailure) -> Descriptor {
        if case .directory(let reader) = current { return reader.descriptor }
        return try opened()
    }

    /// A fid is put to one use.
    func begin(_ new: Use) throws(NinePFailure) {
        try use.withLock { use throws(NinePFailure) in
            guard case .none = use else { throw NinePFailure(EBADF) }
            use = new
        }
    }

    /// Takes more of a new attribute's value; false: this is no new attribute.
    func append(_ bytes: ArraySlice<UInt8>, at offset: UInt64) throws(NinePFailure) -> Bool {
        try use.withLock { use throws(NinePFailure) in
            guard case .newAttribute(var attribute) = use else { return false }
            guard offset == UInt64(attribute.value.count),
                bytes.count <= attribute.size - attribute.value.count
            else { throw .malformed }
            attribute.value += bytes
            use = .newAttribute(attribute)
            return true
        }
    }

    /// At the fid's end.
    func finish() throws(NinePFailure) {
        guard case .newAttribute(let attribute) = current else { return }
        guard attribute.value.count == attribute.size else { throw .malformed }
        try attribute.name.set(on: file, to: attribute.value, flags: attribute.flags)
    }
}

/// An open directory. A guest that reads on where it stopped finds the host's kernel where it stopped,
/// too: file systems without names for places in a directory (tmpfs) count entries otherwise, and removing
/// what was read would hide as much of the rest.
final class SharedDirectoryReader: Sendable {
    let descriptor: Descriptor
    /// Where the descriptor stands; nil: unknown.
    private let position = Mutex<UInt64?>(0)

    init(_ descriptor: Descriptor) { self.descriptor = descriptor }

    /// The entries from `offset` on, `size` bytes of getdents64(2) at most.
    func entries(from offset: UInt64, _ size: Int) throws(NinePFailure) -> [DirectoryEntry] {
        try position.withLock { position throws(NinePFailure) in
            if position != offset {
                position = nil
                try attempt { lseek(descriptor.number, off_t(truncatingIfNeeded: offset), SEEK_SET) }
            }
            let entries = try descriptor.directoryEntries(size)
            position = entries.last?.next ?? offset
            return entries
        }
    }
}

/// An extended attribute that a guest may have: a user's own. What others mean to the host's kernel
/// (capabilities, labels, lists of rights) is the host's business.
struct AttributeName: Sendable {
    private static let prefix = Array("user.".utf8)

    /// Ends with a zero byte.
    private let text: [CChar]

    init(_ bytes: [UInt8]) throws(NinePFailure) {
        guard !bytes.contains(0), bytes.count <= NinePName.limit else { throw .malformed }
        guard Self.isAllowed(bytes) else { throw NinePFailure(EOPNOTSUPP) }
        text = bytes.map { CChar(bitPattern: $0) } + [0]
    }

    private static func isAllowed(_ name: some Collection<UInt8>) -> Bool {
        name.count > prefix.count && name.starts(with: prefix)
    }

    func value(of file: SharedFile) throws(NinePFailure) -> [UInt8] {
        try ExtendedAttributes.value(of: file.path, text)
    }

    /// No bytes, and a flag that says that it must exist, are how 9P removes one.
    func set(on file: SharedFile, to value: [UInt8], flags: Int32) throws(NinePFailure) {
        if value.isEmpty, flags == Int32(XATTR_REPLACE) {
            try attempt { Int(removexattr(file.path, text)) }
        } else {
            try ExtendedAttributes.set(file.path, text, to: value, flags: flags)
        }
    }

    /// The allowed ones of a file, each with a zero byte behind it.
    static func list(of file: SharedFile) throws(NinePFailure) -> [UInt8] {
        try ExtendedAttributes.names(of: file.path).split(separator: 0).filter { isAllowed($0) }
            .flatMap { $0 + [0] }
    }
}
