// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Files and directories by path.
public enum Files {
    public static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    public static func read(_ path: String) throws(SystemError) -> [UInt8] {
        let file = try Descriptor(path: path, flags: O_RDONLY)
        var information = stat()
        try retrying("stat", path) { Int(fstat(file.number, &information)) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(information.st_size) + 1)
        do throws(SystemError) {
            while let chunk = try file.read(atMost: 1 << 20), !chunk.isEmpty { bytes += chunk }
        } catch { throw SystemError(call: error.call, subject: path, code: error.code) }
        return bytes
    }

    public static func text(_ path: String) -> String? {
        (try? read(path)).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Writes the file whole or not at all: under another name first.
    public static func write(_ bytes: [UInt8], to path: String, mode: mode_t = 0o644) throws(SystemError) {
        let temporary = path + ".new"
        let file = try Descriptor(path: temporary, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
        try file.write(bytes)
        try retrying("fchmod", temporary) { Int(fchmod(file.number, mode)) }
        try retrying("rename", path) { Int(rename(temporary, path)) }
    }

    /// As `write`, and what was written is still there after a power cut.
    public static func writeDurably(
        _ bytes: [UInt8], to path: String, mode: mode_t = 0o644
    ) throws(SystemError) {
        let temporary = path + ".new"
        let file = try Descriptor(path: temporary, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
        do {
            try file.write(bytes)
            try retrying("fsync", temporary) { Int(fsync(file.number)) }
            try retrying("rename", path) { Int(rename(temporary, path)) }
        } catch {
            unlink(temporary)
            throw SystemError(call: error.call, subject: path, code: error.code)
        }
        try syncDirectory(of: path)
    }

    /// Makes the names in the directory that `path` is in durable.
    public static func syncDirectory(of path: String) throws(SystemError) {
        let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        let descriptor = try Descriptor(path: directory, flags: O_RDONLY | O_DIRECTORY)
        try retrying("fsync", directory) { Int(fsync(descriptor.number)) }
    }

    /// Removes a directory of ours with the files and directories in it; nothing behind symbolic links.
    /// What is gone already is no error.
    public static func removeTree(_ path: String) throws(SystemError) {
        for name in list(path) {
            let entry = "\(path)/\(name)"
            guard unlink(entry) != 0, errno != ENOENT else { continue }
            guard errno == EISDIR || errno == EPERM else {
                throw SystemError(call: "unlink", subject: entry, code: errno)
            }
            try removeTree(entry)
        }
        if rmdir(path) != 0, errno != ENOENT {
            throw SystemError(call: "rmdir", subject: path, code: errno)
        }
    }

    public static func makeDirectories(_ path: String, mode: mode_t = 0o755) throws(SystemError) {
        if mkdir(path, mode) == 0 || errno == EEXIST { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            throw SystemError(call: "mkdir", subject: path, code: errno)
        }
        try makeDirectories(String(path[..<slash]), mode: mode)
        if mkdir(path, mode) != 0 && errno != EEXIST {
            throw SystemError(call: "mkdir", subject: path, code: errno)
        }
    }

    /// Names in a directory, sorted, without "." and ".."; none where it cannot be read.
    public static func list(_ path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            // d_name ends with a zero byte within the entry (readdir(3)).
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    public static func resolve(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// Whether this is a directory of this user's that no other may enter.
    public static func isPrivate(_ directory: String) -> Bool {
        var information = stat()
        return lstat(directory, &information) == 0 && information.st_mode & S_IFMT == S_IFDIR
            && information.st_uid == geteuid() && information.st_mode & 0o077 == 0
    }

    /// Whether this is a directory of this user's that no other may change.
    public static func isOwn(_ directory: String) -> Bool {
        var information = stat()
        return lstat(directory, &information) == 0 && information.st_mode & S_IFMT == S_IFDIR
            && information.st_uid == geteuid() && information.st_mode & 0o022 == 0
    }

    public static func isDirectory(_ path: String) -> Bool {
        var information = stat()
        return stat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFDIR
    }

    /// In bytes.
    public static func size(_ path: String) throws(SystemError) -> UInt64 {
        var information = stat()
        try retrying("stat", path) { Int(stat(path, &information)) }
        return UInt64(information.st_size)
    }

    public static func isSocket(_ path: String) -> Bool {
        var information = stat()
        return lstat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFSOCK
    }

    public static func remove(_ path: String) { unlink(path) }

    /// The first executable file of that name in PATH.
    public static func program(_ name: String) -> String? {
        let directories = (environmentVariable("PATH") ?? "/usr/bin:/bin") + ":/usr/sbin:/sbin"
        return directories.split(separator: ":").map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }
}
