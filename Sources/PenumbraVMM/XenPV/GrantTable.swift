// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// A guest's grant table, version 1 (Xen's public/grant_table.h): which of its frames it lets others
/// use. An entry has 8 bytes: 16 bits of flags, 16 bits of the other domain's number, a frame.
struct GrantTable {
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
    }

    fileprivate enum Flags {
        static let kind: UInt32 = 3
        static let permitAccess: UInt32 = 1
        static let readOnly: UInt32 = 1 << 2
        /// Set by the side that uses the frame: the guest may not take the grant back.
        static let reading: UInt32 = 1 << 3
        static let writing: UInt32 = 1 << 4
    }

    private static let entrySize: UInt64 = 8
    private static let entries = UInt64(XENPV_GRANT_FRAMES) * UInt64(PENUMBRA_PAGE_SIZE) / entrySize
    /// Flags and domain in one word; the domain that may use the frame is 0, the host.
    private static let domainShift: UInt32 = 16

    /// The guest's special frames, the table among them.
    let special: GuestMemory
    let ram: GuestMemory

    /// Opens a grant for use; the guest sees it in use until the result is gone.
    func map(_ reference: UInt32, for access: Access) throws -> GrantMapping {
        guard UInt64(reference) < Self.entries else { throw Problem.noSuchEntry(reference) }
        let entry =
            GuestPhysical(frame: UInt64(XENPV_GRANT_OFFSET)) + UInt64(reference) * Self.entrySize
        let use = access == .read ? Flags.reading : Flags.reading | Flags.writing
        var word = try special.loadShared(at: entry)
        repeat {
            guard word >> Self.domainShift == 0, word & Flags.kind == Flags.permitAccess,
                access == .read || word & Flags.readOnly == 0
            else { throw Problem.notGranted(reference) }
        } while !(try special.exchangeShared(&word, with: word | use, at: entry))
        // While it is in use the guest has no business with the frame's number: what is read now holds.
        let frame = try special.loadShared(at: entry + 4)
        let mapping = GrantMapping(ram: ram, frame: UInt64(frame), special: special, entry: entry, use: use)
        guard UInt64(frame) < ram.frames else { throw Problem.badFrame(reference) }
        return mapping
    }
}

/// A frame that the guest granted, and its only way in for devices. Gives the grant back at its end.
final class GrantMapping {
    let ram: GuestMemory
    let frame: UInt64
    private let special: GuestMemory
    private let entry: GuestPhysical
    private let use: UInt32

    fileprivate init(ram: GuestMemory, frame: UInt64, special: GuestMemory, entry: GuestPhysical, use: UInt32)
    {
        (self.ram, self.frame, self.special, self.entry, self.use) = (ram, frame, special, entry, use)
    }

    deinit {
        // The entry was inside the memory when the mapping was made, and memory never shrinks.
        guard var word = try? special.loadShared(at: entry) else { return }
        while (try? special.exchangeShared(&word, with: word & ~use, at: entry)) == false {}
    }
}
