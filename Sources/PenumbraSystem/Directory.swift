// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A directory by its descriptor, and what is done with the names in it. A name is bytes without a slash;
/// no call here follows a symbolic link that has such a name, so that whoever goes from directory to
/// directory stays below the first, whatever links there are.
public final class Directory: Sendable {
    public let descriptor: Descriptor

    private init(_ descriptor: Descriptor) { self.descriptor = descriptor }

    /// The directory at a path of the user's own: links on it are followed.
    public convenience init(path: [UInt8]) throws(SystemError) {
        let flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC
        let number = try Self.call("open", path) { Int(Glibc.open($0, flags)) }
        self.init(Descriptor(adopting: Int32(number)))
    }

    /// The directory of that name in this one; ENOTDIR, also for a link.
    public func directory(_ name: [UInt8]) throws(SystemError) -> Directory {
        Directory(try open(name, O_RDONLY | O_DIRECTORY))
    }

    // MARK: What is there

    /// What lstat(2) says; nil: there is nothing of that name.
    public func information(_ name: [UInt8]) throws(SystemError) -> stat? {
        var information = stat()
        do throws(SystemError) {
            try call("stat", name) { Int(fstatat(descriptor.number, $0, &information, AT_SYMLINK_NOFOLLOW)) }
        } catch {
            guard error.code == ENOENT else { throw error }
            return nil
        }
        return information
    }

    /// All names but "." and "..", in the order of their bytes.
    public func names() throws(SystemError) -> [[UInt8]] {
        let copy = try call("open", [UInt8(ascii: ".")]) {
            Int(openat(descriptor.number, $0, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
        }
        guard let stream = fdopendir(Int32(copy)) else {
            let error = SystemError(call: "fdopendir", subject: ".", code: errno)
            close(Int32(copy))
            throw error
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while let entry = readdir(stream) {
            // d_name ends with a zero byte within the entry (readdir(3)).
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != Array(".".utf8) && name != Array("..".utf8) { names.append(name) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// What a symbolic link holds.
    public func linkTarget(_ name: [UInt8]) throws(SystemError) -> [UInt8] {
        var target = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = try call("readlink", name) { readlinkat(descriptor.number, $0, &target, target.count) }
        return target.prefix(count).map { UInt8(bitPattern: $0) }
    }

    // MARK: Making, and removing

    /// openat(2), close-on-exec; ELOOP for a link.
    public func open(
        _ name: [UInt8], _ flags: Int32, mode: mode_t = 0
    ) throws(SystemError) -> Descriptor {
        let number = try call("open", name) {
            Int(openat(descriptor.number, $0, flags | O_NOFOLLOW | O_CLOEXEC, mode))
        }
        return Descriptor(adopting: Int32(number))
    }

    public func makeDirectory(_ name: [UInt8], mode: mode_t) throws(SystemError) {
        try call("mkdir", name) { Int(mkdirat(descriptor.number, $0, mode)) }
    }

    public func makeLink(_ name: [UInt8], to target: [UInt8]) throws(SystemError) {
        let target = Self.cString(target)
        try call("symlink", name) { Int(symlinkat(target, descriptor.number, $0)) }
    }

    /// Another name for a file of another name, which may be a link itself, in this directory or another.
    public func makeHardLink(
        _ name: [UInt8], to other: [UInt8], in directory: Directory
    ) throws(SystemError) {
        let other = Self.cString(other)
        try call("link", name) {
            Int(linkat(directory.descriptor.number, other, descriptor.number, $0, 0))
        }
    }

    /// rename(2): a file of the new name gives way.
    public func rename(_ name: [UInt8], to new: [UInt8]) throws(SystemError) {
        let name = Self.cString(name)
        try call("rename", new) { Int(renameat(descriptor.number, name, descriptor.number, $0)) }
    }

    /// Removes a name that is no directory's.
    public func remove(_ name: [UInt8]) throws(SystemError) {
        try call("unlink", name) { Int(unlinkat(descriptor.number, $0, 0)) }
    }

    // MARK: Owners and times, of links themselves too

    public func setOwner(_ name: [UInt8], user: uid_t, group: gid_t) throws(SystemError) {
        try call("chown", name) { Int(fchownat(descriptor.number, $0, user, group, AT_SYMLINK_NOFOLLOW)) }
    }

    /// Seconds since 1970.
    public func setModified(_ name: [UInt8], _ seconds: Int64) throws(SystemError) {
        let times = Self.times(seconds)
        try call("utimensat", name) { Int(utimensat(descriptor.number, $0, times, AT_SYMLINK_NOFOLLOW)) }
    }

    /// Of the last access: now; of the last change.
    fileprivate static func times(_ seconds: Int64) -> [timespec] {
        // UTIME_NOW of utimensat(2).
        [timespec(tv_sec: 0, tv_nsec: (1 << 30) - 1), timespec(tv_sec: Int(seconds), tv_nsec: 0)]
    }

    // MARK: Names

    @discardableResult
    private func call(
        _ name: String, _ path: [UInt8], _ body: (UnsafePointer<CChar>) -> Int
    ) throws(SystemError) -> Int {
        try Self.call(name, path, body)
    }

    @discardableResult
    private static func call(
        _ name: String, _ path: [UInt8], _ body: (UnsafePointer<CChar>) -> Int
    ) throws(SystemError) -> Int {
        let characters = cString(path)
        return try retrying(name, text(path)) { body(characters) }
    }

    private static func cString(_ path: [UInt8]) -> [CChar] { path.map { CChar(bitPattern: $0) } + [0] }

    private static func text(_ path: [UInt8]) -> String { String(decoding: path, as: UTF8.self) }
}

extension Descriptor {
    /// What fstat(2) says.
    public func fileInformation() throws(SystemError) -> stat {
        var information = stat()
        try retrying("fstat", "descriptor \(number)") { Int(fstat(number, &information)) }
        return information
    }

    public func setOwner(user: uid_t, group: gid_t) throws(SystemError) {
        try retrying("fchown", "descriptor \(number)") { Int(fchown(number, user, group)) }
    }

    public func setMode(_ mode: mode_t) throws(SystemError) {
        try retrying("fchmod", "descriptor \(number)") { Int(fchmod(number, mode)) }
    }

    /// Seconds since 1970.
    public func setModified(_ seconds: Int64) throws(SystemError) {
        let times = Directory.times(seconds)
        try retrying("futimens", "descriptor \(number)") { Int(futimens(number, times)) }
    }

    /// The file is so long, and reads as zeros where nothing was written.
    public func setSize(_ size: UInt64) throws(SystemError) {
        try retrying("ftruncate", "descriptor \(number)") { Int(ftruncate(number, off_t(size))) }
    }

    /// Leaves out so many bytes of the file, which read as zeros.
    public func skip(_ count: Int) throws(SystemError) {
        try retrying("lseek", "descriptor \(number)") { lseek(number, off_t(count), SEEK_CUR) }
    }
}
