// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem
import Synchronization

/// A guest's grant table, version 1 (Xen's public/grant_table.h): which of its frames it lets others
/// use. An entry has 8 bytes: 16 bits of flags, 16 bits of the other domain's number, a frame.
///
/// While the guest finds one of the bits "reading" and "writing" in an entry, it may not take the
/// grant back. Several mappings may use the same entry at a time, so their number is kept here, and
/// the bits go with the last of them. One lock guards the numbers; entries are changed under it,
/// against the guest atomically.
final class GrantTable: Sendable {
    enum Problem: Error, Equatable, CustomStringConvertible {
        case noSuchEntry(UInt32)
        case notGranted(UInt32)
        case badFrame(UInt32)

        var description: String {
            switch self {
            case .noSuchEntry(let reference): "grant \(reference) is beyond the guest's grant table"
            case .notGranted(let reference): "grant \(reference) does not let domain 0 do that"
            case .badFrame(let reference): "grant \(reference) names a frame that is no RAM"
            }
        }
    }

    enum Access {
        case read, readAndWrite

        fileprivate var flags: UInt32 { self == .read ? Flags.reading : Flags.reading | Flags.writing }
    }

    private enum Flags {
        static let kind: UInt32 = 3
        static let permitAccess: UInt32 = 1
        static let readOnly: UInt32 = 1 << 2
        /// Set by the side that uses the frame: the guest may not take the grant back.
        static let reading: UInt32 = 1 << 3
        static let writing: UInt32 = 1 << 4
    }

    /// How many mappings use an entry, and how many of them write.
    private struct Users {
        var all: UInt32 = 0
        var writers: UInt32 = 0

        /// The bits of an entry that has these.
        var flags: UInt32 { (all > 0 ? Flags.reading : 0) | (writers > 0 ? Flags.writing : 0) }
    }

    private static let entrySize: UInt64 = 8
    private static let entries = UInt64(XENPV_GRANT_FRAMES) * UInt64(PENUMBRA_PAGE_SIZE) / entrySize
    /// Flags and domain in one word; the domain that may use the frame is 0, the host.
    private static let domainShift: UInt32 = 16

    /// The guest's special frames, the table among them.
    private let special: GuestMemory
    let ram: GuestMemory
    /// By reference, as far as the highest one that was ever mapped.
    private let users = Mutex<[Users]>([])

    init(special: GuestMemory, ram: GuestMemory) { (self.special, self.ram) = (special, ram) }

    /// Opens a grant for use; the guest sees it in use until the result is gone.
    func map(_ reference: UInt32, for access: Access) throws -> GrantMapping {
        try map([reference], for: access)
    }

    /// Opens all of these, or none.
    func map(_ references: [UInt32], for access: Access) throws -> GrantMapping {
        let frames = try users.withLock { users in
            var frames: [UInt64] = []
            frames.reserveCapacity(references.count)
            do {
                for reference in references { frames.append(try open(reference, for: access, &users)) }
            } catch {
                for reference in references.prefix(frames.count) { close(reference, access, &users) }
                throw error
            }
            return frames
        }
        return GrantMapping(table: self, references: references, frames: frames, access: access)
    }

    fileprivate func unmap(_ references: [UInt32], _ access: Access) {
        users.withLock { users in
            for reference in references { close(reference, access, &users) }
        }
    }

    /// The frame; nothing is in use if there is none.
    private func open(_ reference: UInt32, for access: Access, _ users: inout [Users]) throws -> UInt64 {
        guard UInt64(reference) < Self.entries else { throw Problem.noSuchEntry(reference) }
        let entry = Self.entry(of: reference)
        var word = try special.loadShared(at: entry)
        repeat {
            guard word >> Self.domainShift == 0, word & Flags.kind == Flags.permitAccess,
                access == .read || word & Flags.readOnly == 0
            else { throw Problem.notGranted(reference) }
        } while !(try special.exchangeShared(&word, with: word | access.flags, at: entry))
        let index = Int(reference)
        if index >= users.count {
            users += Array(repeating: Users(), count: index + 1 - users.count)
        }
        users[index].all += 1
        if access == .readAndWrite { users[index].writers += 1 }
        // While it is in use the guest has no business with the frame's number: what is read now holds.
        let frame = UInt64(try special.loadShared(at: entry + 4))
        guard frame < ram.frames else {
            close(reference, access, &users)
            throw Problem.badFrame(reference)
        }
        return frame
    }

    private func close(_ reference: UInt32, _ access: Access, _ users: inout [Users]) {
        users[Int(reference)].all -= 1
        if access == .readAndWrite { users[Int(reference)].writers -= 1 }
        let ended = access.flags & ~users[Int(reference)].flags
        let entry = Self.entry(of: reference)
        // The entry was inside the memory when it was opened, and memory never shrinks.
        guard ended != 0, var word = try? special.loadShared(at: entry) else { return }
        while (try? special.exchangeShared(&word, with: word & ~ended, at: entry)) == false {}
    }

    private static func entry(of reference: UInt32) -> GuestPhysical {
        GuestPhysical(frame: UInt64(XENPV_GRANT_OFFSET)) + UInt64(reference) * entrySize
    }
}

/// Frames that the guest granted, one behind the other as if they were one piece, and a device's only
/// way to them. Gives the grants back at its end. The guest can change the bytes at any time: they are
/// to be copied before they are believed.
final class GrantMapping: Sendable {
    private static let pageSize = Int(PENUMBRA_PAGE_SIZE)

    private let table: GrantTable
    private let references: [UInt32]
    private let frames: [UInt64]
    private let access: GrantTable.Access

    fileprivate init(
        table: GrantTable, references: [UInt32], frames: [UInt64], access: GrantTable.Access
    ) {
        (self.table, self.references, self.frames, self.access) = (table, references, frames, access)
    }

    deinit { table.unmap(references, access) }

    var ram: GuestMemory { table.ram }
    /// The first one.
    var frame: UInt64 { frames[0] }
    /// In bytes.
    var size: Int { frames.count * Self.pageSize }

    /// Where `count` bytes from `offset` on are; they must lie within one page of the mapping.
    private func address(_ offset: Int, _ count: Int) -> GuestPhysical {
        let (page, start) = offset.quotientAndRemainder(dividingBy: Self.pageSize)
        precondition(start + count <= Self.pageSize)
        return GuestPhysical(frame: frames[page]) + UInt64(start)
    }

    /// What a device reads or writes there itself: numbers that both sides use at the same time.
    func loadShared(at offset: Int) throws -> UInt32 { try ram.loadShared(at: address(offset, 4)) }

    func storeShared(_ value: UInt32, at offset: Int) throws {
        precondition(access == .readAndWrite)
        try ram.storeShared(value, at: address(offset, 4))
    }

    /// A copy of `count` 32-bit numbers, which may lie across pages.
    func words(_ count: Int, at offset: Int) throws -> [UInt32] {
        try ram.words(in: pieces([offset..<(offset + count * 4)]))
    }

    /// Writes 32-bit numbers, which may lie across pages.
    func write(_ words: [UInt32], at offset: Int) throws {
        precondition(access == .readAndWrite)
        try ram.write(words, to: pieces([offset..<(offset + words.count * 4)]))
    }

    /// Appends a copy of these bytes.
    func append(_ ranges: [Range<Int>], to bytes: inout [UInt8]) throws {
        try ram.append(pieces(ranges), to: &bytes)
    }

    /// Writes bytes, which may lie across pages.
    func write(_ bytes: ArraySlice<UInt8>, at offset: Int = 0) throws {
        precondition(access == .readAndWrite)
        try ram.write(bytes, to: pieces([offset..<(offset + bytes.count)]))
    }

    /// Fills these bytes from a file; false: that would have taken waiting.
    func fill(
        _ ranges: [Range<Int>], from file: Descriptor, at position: UInt64, mayWait: Bool
    ) throws -> Bool {
        precondition(access == .readAndWrite)
        return try ram.fill(pieces(ranges), from: file, at: position, mayWait: mayWait)
    }

    /// Writes these bytes to a file.
    func store(_ ranges: [Range<Int>], to file: Descriptor, at position: UInt64) throws {
        try ram.store(pieces(ranges), to: file, at: position)
    }

    /// Where these bytes are in the guest's memory; what lies together there is one piece.
    private func pieces(_ ranges: [Range<Int>]) -> [GuestMemory.Piece] {
        var pieces: [GuestMemory.Piece] = []
        pieces.reserveCapacity(ranges.count)
        for range in ranges {
            var offset = range.lowerBound
            while offset < range.upperBound {
                let count = min(range.upperBound - offset, Self.pageSize - offset % Self.pageSize)
                let address = address(offset, count)
                if let last = pieces.last, last.address + UInt64(last.count) == address {
                    pieces[pieces.count - 1].count += count
                } else {
                    pieces.append(GuestMemory.Piece(address: address, count: count))
                }
                offset += count
            }
        }
        return pieces
    }
}
