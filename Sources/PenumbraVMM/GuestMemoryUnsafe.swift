// SPDX-License-Identifier: Apache-2.0
import CLinux
import CPenumbra
import Glibc
import PenumbraSystem
import Synchronization

/// An address in the guest's physical memory.
public struct GuestPhysical: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let value: UInt64

    public init(_ value: UInt64) { self.value = value }

    public init(frame: UInt64) { value = frame << PENUMBRA_PAGE_SHIFT }

    public var frame: UInt64 { value >> PENUMBRA_PAGE_SHIFT }
    public var description: String { "0x" + String(value, radix: 16) }

    public static func < (left: Self, right: Self) -> Bool { left.value < right.value }
    public static func + (left: Self, offset: UInt64) -> Self { Self(left.value + offset) }
}

/// A guest's RAM: a memfd that can neither shrink nor grow, mapped here. Every access is checked
/// against its size; the guest may change what is read at any time.
public final class GuestMemory: @unchecked Sendable {
    /// Sound to share: the mapping lives as long as the object, and its bytes are plain memory
    /// that another party, the guest, writes anyhow.
    private let base: UnsafeMutableRawPointer
    public let size: UInt64
    let file: Descriptor

    public var frames: UInt64 { size >> PENUMBRA_PAGE_SHIFT }

    /// All of it as the guest's RAM, from frame 0 on.
    var region: penumbra_region {
        penumbra_region(
            fd: file.number, flags: 0, offset: 0, first_frame: 0, frame_count: UInt32(frames),
            reserved: (0, 0))
    }

    /// `size` is a multiple of the page size and not zero.
    public init(size: UInt64) throws(VMMError) {
        precondition(size > 0 && size % UInt64(PENUMBRA_PAGE_SIZE) == 0)
        let wanted = "\(size >> 20) MiB of guest memory"
        do throws(SystemError) {
            let file = Descriptor(
                adopting: Int32(
                    try retrying("memfd_create", wanted) { Int(linux_memfd_sealed("penumbra-guest", size)) }))
            let base = mmap(nil, Int(size), PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0)
            guard let base, base != MAP_FAILED else {
                throw SystemError(call: "mmap", subject: wanted, code: errno)
            }
            (self.file, self.base, self.size) = (file, base, size)
        } catch { throw VMMError(error, wanted: wanted) }
    }

    deinit { munmap(base, Int(size)) }

    private func pointer(_ address: GuestPhysical, _ count: Int) throws(VMMError) -> UnsafeMutableRawPointer {
        guard UInt64(count) <= size, address.value <= size - UInt64(count) else {
            throw .outsideMemory(address: address.value, count: count)
        }
        return base + Int(address.value)
    }

    public func write(_ bytes: ArraySlice<UInt8>, at address: GuestPhysical) throws(VMMError) {
        let target = try pointer(address, bytes.count)
        bytes.withUnsafeBytes { source in
            if let start = source.baseAddress { target.copyMemory(from: start, byteCount: source.count) }
        }
    }

    public func read(_ count: Int, at address: GuestPhysical) throws(VMMError) -> [UInt8] {
        [UInt8](UnsafeRawBufferPointer(start: try pointer(address, count), count: count))
    }

    public func store(_ value: UInt64, at address: GuestPhysical) throws(VMMError) {
        // Little-endian, as this host is: PENUMBRA runs on x86-64 only.
        try pointer(address, 8).storeBytes(of: value, as: UInt64.self)
    }

    public func load(at address: GuestPhysical) throws(VMMError) -> UInt64 {
        try UnsafeRawPointer(pointer(address, 8)).loadUnaligned(as: UInt64.self)
    }

    // MARK: Pieces here and there

    /// Some bytes of the guest's.
    struct Piece: Equatable {
        var address: GuestPhysical
        var count: Int
    }

    /// Fills the pieces from `file`, from `position` on. Without `mayWait`, only with what the host has in
    /// memory; false: that was not all, and the pieces hold anything.
    func fill(_ pieces: [Piece], from file: Descriptor, at position: UInt64, mayWait: Bool) throws -> Bool {
        do {
            try transfer(pieces, "read", at: position) { vectors, position in
                linux_preadv(file.number, vectors, Int32(vectors.count), position, mayWait ? 0 : 1)
            }
            return true
        } catch let error as SystemError where error.code == EAGAIN && !mayWait {
            return false
        }
    }

    /// Writes the pieces to `file`, from `position` on.
    func store(_ pieces: [Piece], to file: Descriptor, at position: UInt64) throws {
        try transfer(pieces, "write", at: position) { vectors, position in
            pwritev(file.number, vectors, Int32(vectors.count), off_t(position))
        }
    }

    /// Repeats a call that may move less than it should.
    private func transfer(
        _ pieces: [Piece], _ name: String, at position: UInt64, _ call: ([iovec], UInt64) -> Int
    ) throws {
        var vectors = try pointers(to: pieces).map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
        var position = position
        while !vectors.isEmpty {
            let count = try retrying(name, "byte \(position)") { call(vectors, position) }
            guard count > 0 else {
                throw SystemError(call: name, subject: "byte \(position), behind the end", code: EIO)
            }
            position += UInt64(count)
            Self.drop(count, from: &vectors)
        }
    }

    private static func drop(_ count: Int, from vectors: inout [iovec]) {
        var count = count
        let whole = vectors.prefix { vector in
            guard vector.iov_len <= count else { return false }
            count -= vector.iov_len
            return true
        }.count
        vectors.removeFirst(whole)
        guard count > 0, let first = vectors.first else { return }
        // Less than the vector's length: still within its bytes.
        vectors[0] = iovec(iov_base: first.iov_base + count, iov_len: first.iov_len - count)
    }

    /// A copy of the pieces as 32-bit numbers: as many as have room there.
    func words(in pieces: [Piece]) throws(VMMError) -> [UInt32] {
        let size = Self.size(of: pieces)
        precondition(size % 4 == 0)
        var words = [UInt32](repeating: 0, count: size / 4)
        let sources = try pointers(to: pieces)
        words.withUnsafeMutableBytes { Self.gather(sources, into: $0) }
        return words
    }

    /// Writes 32-bit numbers to the pieces, which have room for just so many.
    func write(_ words: [UInt32], to pieces: [Piece]) throws(VMMError) {
        let targets = try pointers(to: pieces)
        words.withUnsafeBytes { Self.scatter($0, to: targets) }
    }

    /// Appends a copy of the pieces.
    func append(_ pieces: [Piece], to bytes: inout [UInt8]) throws(VMMError) {
        for buffer in try pointers(to: pieces) { bytes += UnsafeRawBufferPointer(buffer) }
    }

    /// Writes bytes to the pieces, which have room for just so many.
    func write(_ bytes: ArraySlice<UInt8>, to pieces: [Piece]) throws(VMMError) {
        let targets = try pointers(to: pieces)
        bytes.withUnsafeBytes { Self.scatter($0, to: targets) }
    }

    private static func size(of pieces: [Piece]) -> Int { pieces.reduce(0) { $0 + $1.count } }

    /// Each checked, and inside the mapping for as long as the object lives.
    private func pointers(to pieces: [Piece]) throws(VMMError) -> [UnsafeMutableRawBufferPointer] {
        try pieces[...].map { piece throws(VMMError) in
            UnsafeMutableRawBufferPointer(start: try pointer(piece.address, piece.count), count: piece.count)
        }
    }

    private static func gather(
        _ sources: [UnsafeMutableRawBufferPointer], into target: UnsafeMutableRawBufferPointer
    ) {
        var offset = 0
        for source in sources {
            // Traps if the target is too short.
            UnsafeMutableRawBufferPointer(rebasing: target[offset..<(offset + source.count)])
                .copyMemory(from: UnsafeRawBufferPointer(source))
            offset += source.count
        }
    }

    private static func scatter(
        _ source: UnsafeRawBufferPointer, to targets: [UnsafeMutableRawBufferPointer]
    ) {
        var offset = 0
        for target in targets {
            // Traps if the source is too short.
            target.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: source[offset..<(offset + target.count)]))
            offset += target.count
        }
        precondition(offset == source.count)
    }

    // MARK: What both sides write at the same time

    /// A number of a shared ring, by one access that no other of ours is moved across.
    func loadShared(at address: GuestPhysical) throws(VMMError) -> UInt32 {
        try shared(address).pointee.load(ordering: .sequentiallyConsistent)
    }

    func storeShared(_ value: UInt32, at address: GuestPhysical) throws(VMMError) {
        try shared(address).pointee.store(value, ordering: .sequentiallyConsistent)
    }

    /// Replaces `expected` by `value` in one step; says whether it was there, else puts what is there
    /// into `expected`.
    func exchangeShared(
        _ expected: inout UInt32, with value: UInt32, at address: GuestPhysical
    ) throws(VMMError) -> Bool {
        let (exchanged, original) = try shared(address).pointee.compareExchange(
            expected: expected, desired: value, ordering: .sequentiallyConsistent)
        expected = original
        return exchanged
    }

    private func shared(_ address: GuestPhysical) throws(VMMError) -> UnsafeMutablePointer<Atomic<UInt32>> {
        // The mapping begins at a page: what is aligned in the guest is aligned here. An atomic
        // number has the size and the layout of the number.
        precondition(address.value % 4 == 0)
        return try pointer(address, 4).assumingMemoryBound(to: Atomic<UInt32>.self)
    }
}
