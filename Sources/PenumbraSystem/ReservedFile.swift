// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Room on a disk for a file that must be written even when the disk has become full.
public struct ReservedFile: Sendable {
    public let path: String

    public init(path: String) { self.path = path }

    /// Takes the room, in bytes, on the disk that `path` is on.
    public func reserve(_ size: Int) throws(SystemError) {
        let file = try Descriptor(path: path, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        let code = posix_fallocate(file.number, 0, off_t(size))
        if code != 0 {
            Files.remove(path)
            throw SystemError(call: "fallocate", subject: path, code: code)
        }
        try file.sync()
    }

    /// Writes the content, which has no more bytes than were reserved, into that room and gives it
    /// the name `target`, durably. False: nothing is reserved.
    public func become(_ target: String, with content: [UInt8]) throws(SystemError) -> Bool {
        guard Files.exists(path) else { return false }
        let file = try Descriptor(path: path, flags: O_WRONLY)
        try file.write(content)
        try retrying("ftruncate", path) { Int(ftruncate(file.number, off_t(content.count))) }
        try file.sync()
        try Files.renameDurably(path, to: target)
        return true
    }
}
