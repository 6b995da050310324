// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The store's directory, and what makes it safe under several processes and under a kill or a power cut
/// at any moment:
///
///     images.json         the catalog: which images there are. What it does not name is not there
///     blobs/sha256/HEX    manifests, configurations, layers, each called by its own digest
///     roots/KEY.squashfs  file systems; KEY is the digest of the layers' unpacked digests
///     tmp/                what is not finished
///     catalog.lock        held for a change of the catalog, and while somebody begins to use an image
///     contents.lock       held shared while blobs and file systems are added, alone while those that the
///                         catalog does not name are removed
///
/// Everything is made in tmp/, synchronized, and renamed to its place, where it never changes; the catalog,
/// replaced in one step, comes last. So whatever moment a process dies at, the catalog names only what is
/// complete. Leftovers go with the next removal or addition that finds nobody else adding.
struct StoreLayout: Sendable {
    let path: String
    /// Called between any two steps that others can see. Tests look at the store there.
    let step: @Sendable (String) -> Void

    var catalog: String { "\(path)/images.json" }
    var blobs: String { "\(path)/blobs/sha256" }
    var roots: String { "\(path)/roots" }
    var temporary: String { "\(path)/tmp" }

    func blob(_ digest: Digest) -> String { "\(blobs)/\(digest.hexadecimal)" }
    func root(_ key: Digest) -> String { "\(roots)/\(key.hexadecimal).squashfs" }

    func makeDirectories() throws {
        for directory in [blobs, roots, temporary] {
            try ImageError.whileWriting(directory) { () throws(SystemError) in
                try Files.makeDirectories(directory, mode: 0o700)
            }
        }
    }

    // MARK: Locks

    private func lockFile(_ name: String) throws -> Descriptor {
        let file = "\(path)/\(name)"
        return try ImageError.whileWriting(file) { () throws(SystemError) in
            try Descriptor(path: file, flags: O_RDWR | O_CREAT, mode: 0o600)
        }
    }

    func withCatalogLocked<Result>(_ body: () throws -> Result) throws -> Result {
        let lock = try lockFile("catalog.lock")
        lock.waitForLock()
        return try withExtendedLifetime(lock, body)
    }

    /// Runs `body`, which adds blobs or file systems; nothing is removed meanwhile. Leftovers of others who
    /// were killed go first.
    func whileAdding<Result>(_ body: () throws -> Result) throws -> Result {
        try removeUnnamed()
        let lock = try lockFile("contents.lock")
        lock.waitForSharedLock()
        return try withExtendedLifetime(lock, body)
    }

    /// Removes what the catalog does not name, unless somebody is adding: then it stays for the next time.
    func removeUnnamed() throws {
        let lock = try lockFile("contents.lock")
        guard lock.tryLock() else { return }
        try withExtendedLifetime(lock) {
            let named = try Catalog.read(self).images
            let blobs = Set(named.flatMap(\.blobs).map(\.hexadecimal))
            let roots = Set(named.map { "\($0.root.hexadecimal).squashfs" })
            for name in Files.list(temporary) { try remove("\(temporary)/\(name)") }
            for name in Files.list(self.blobs) where !blobs.contains(name) {
                try remove("\(self.blobs)/\(name)")
            }
            for name in Files.list(self.roots) where !roots.contains(name) {
                try remove("\(self.roots)/\(name)")
            }
        }
    }

    private func remove(_ path: String) throws {
        if Files.isDirectory(path) { try Files.removeTree(path) } else { Files.remove(path) }
        step("removed \(path)")
    }

    /// In bytes, of all files.
    func occupied() -> UInt64 {
        var sum: UInt64 = 0
        for directory in [blobs, roots, temporary] {
            for name in Files.list(directory) {
                var information = stat()
                if stat("\(directory)/\(name)", &information) == 0 {
                    sum += UInt64(information.st_blocks) * 512
                }
            }
        }
        return sum
    }

    // MARK: Files in the making

    /// A new file in tmp/.
    func newFile() throws -> TemporaryFile { try TemporaryFile(in: self) }

    /// Runs `body` with a new directory in tmp/, which goes with it.
    func withTemporaryDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
        let directory = try TemporaryDirectory(in: temporary)
        return try withExtendedLifetime(directory) { try body(directory.path) }
    }

    /// Moves a finished file to where it stays.
    func keep(_ file: TemporaryFile, as path: String) throws {
        try ImageError.whileWriting(path) { () throws(SystemError) in
            try file.descriptor().sync()
            step("synchronized \(path)")
            try Files.renameDurably(file.path, to: path)
        }
        file.isKept = true
        step("kept \(path)")
    }
}

/// A file that goes with its last reference, unless it is kept.
final class TemporaryFile {
    let path: String
    private var opened: Descriptor?
    fileprivate(set) var isKept = false

    fileprivate init(in layout: StoreLayout) throws {
        var template = Array("\(layout.temporary)/XXXXXX".utf8CString)
        let number = try ImageError.whileWriting(layout.temporary) { () throws(SystemError) in
            try retrying("mkstemp", layout.temporary) { Int(mkstemp(&template)) }
        }
        let descriptor = Descriptor(adopting: Int32(number))
        _ = fcntl(descriptor.number, F_SETFD, FD_CLOEXEC)
        opened = descriptor
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        layout.step("created \(path)")
    }

    /// Open for reading and writing; at the file's beginning after `close`.
    func descriptor() throws(SystemError) -> Descriptor {
        if let opened { return opened }
        let descriptor = try Descriptor(path: path, flags: O_RDWR)
        opened = descriptor
        return descriptor
    }

    func close() { opened = nil }

    deinit { if !isKept { Files.remove(path) } }
}

extension ImageError {
    /// Runs something that writes below `path`; that there is no room is told as such.
    static func whileWriting<Result>(
        _ path: String, _ body: () throws(SystemError) -> Result
    ) throws -> Result {
        do { return try body() } catch {
            guard error.code == ENOSPC || error.code == EDQUOT else { throw error }
            throw ImageError.noRoom(path: path)
        }
    }
}
