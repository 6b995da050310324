// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// Bytes that come once, in order.
protocol ByteSource: AnyObject {
    /// Some of the next bytes, at most `count`; none at the end.
    func read(atMost count: Int) throws -> [UInt8]
}

extension ByteSource {
    /// Reads and forgets everything that is left.
    func drain() throws { while try !read(atMost: StreamSize.chunk).isEmpty {} }
}

enum StreamSize {
    /// What is read, hashed, unpacked and written at a time, in bytes.
    static let chunk = 256 << 10
}

/// A file, a pipe or a socket.
final class DescriptorSource: ByteSource {
    private let descriptor: Descriptor

    init(_ descriptor: Descriptor) { self.descriptor = descriptor }

    convenience init(path: String) throws { self.init(try Descriptor(path: path, flags: O_RDONLY)) }

    func read(atMost count: Int) throws -> [UInt8] {
        while true {
            if let bytes = try descriptor.read(atMost: count) { return bytes }
            descriptor.waitReadable()
        }
    }
}

/// Passes bytes on and knows their digest and number.
final class HashingSource: ByteSource {
    private let source: ByteSource
    private var hash = SHA256()
    private(set) var count: UInt64 = 0

    init(_ source: ByteSource) { self.source = source }

    var digest: Digest { hash.finished() }

    func read(atMost count: Int) throws -> [UInt8] {
        let bytes = try source.read(atMost: count)
        hash.update(bytes)
        self.count += UInt64(bytes.count)
        return bytes
    }
}

/// Lets its reader ask for exact amounts, and look ahead.
final class BufferedSource: ByteSource {
    private let source: ByteSource
    private var buffer: ArraySlice<UInt8> = []

    init(_ source: ByteSource) { self.source = source }

    func read(atMost count: Int) throws -> [UInt8] {
        if buffer.isEmpty { buffer = try source.read(atMost: max(count, StreamSize.chunk))[...] }
        defer { buffer = buffer.dropFirst(count) }
        return Array(buffer.prefix(count))
    }

    /// The next `count` bytes, which stay; fewer only at the end.
    func peek(_ count: Int) throws -> [UInt8] {
        while buffer.count < count {
            let more = try source.read(atMost: StreamSize.chunk)
            if more.isEmpty { break }
            buffer = Array(buffer + more)[...]
        }
        return Array(buffer.prefix(count))
    }

    /// The next `count` bytes; fewer only at the end.
    func read(exactly count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            let more = try read(atMost: count - bytes.count)
            if more.isEmpty { break }
            bytes += more
        }
        return bytes
    }
}
