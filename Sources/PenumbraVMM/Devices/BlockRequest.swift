// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// A request of a guest's disk driver as it came from the ring: copied once, believed in nothing
/// (Xen's public/io/blkif.h, the layout of 64-bit guests). Slots have 28 words of 32 bits:
///
///     word 0    operation, number of segments (16 bits from bit 16 on in an indirect one), device
///     words 2   the guest's own number for the request, 64 bits
///     words 4   first sector, 64 bits
///     words 6   11 segments of two words each; a discard's number of sectors; or, indirect, the device
///               and from word 7 on up to 8 grants of pages that hold the segments
struct BlockRequest: Equatable {
    /// In words.
    static let slotSize = 28
    /// Of pages that a request's segments are granted by.
    static let directSegments = 11
    static let indirectSegments = 256

    enum Operation: UInt8 {
        case read, write
        case flush = 3
        case discard = 5
        case indirect
    }

    /// Some sectors of a page that the guest granted.
    struct Segment: Equatable {
        let reference: UInt32
        /// Sectors of the page, the last one included.
        let first, last: UInt8

        init(_ words: ArraySlice<UInt32>) {
            reference = words[words.startIndex]
            let sectors = words[words.startIndex + 1]
            (first, last) = (UInt8(truncatingIfNeeded: sectors), UInt8(truncatingIfNeeded: sectors >> 8))
        }

        var isPossible: Bool {
            first <= last && UInt64(last) < UInt64(PENUMBRA_PAGE_SIZE) / DiskFile.sectorSize
        }

        var sectors: UInt64 { UInt64(last - first) + 1 }

        /// The bytes, in a mapping whose page `page` is this segment's.
        func bytes(inPage page: Int) -> Range<Int> {
            let start = page * Int(PENUMBRA_PAGE_SIZE)
            let size = Int(DiskFile.sectorSize)
            return (start + Int(first) * size)..<(start + (Int(last) + 1) * size)
        }
    }

    private let words: [UInt32]

    init(_ words: [UInt32]) {
        precondition(words.count == Self.slotSize)
        self.words = words
    }

    var isIndirect: Bool { Self.operation(words[0]) == Operation.indirect.rawValue }

    /// An `Operation`, or whatever else the guest sent; of an indirect request, the inner one.
    var operation: UInt8 { isIndirect ? UInt8(truncatingIfNeeded: words[0] >> 8) : Self.operation(words[0]) }

    var segmentCount: Int {
        isIndirect
            ? Int(words[0] >> 16) : Int(UInt8(truncatingIfNeeded: words[0] >> 8))
    }

    var identifier: UInt64 { UInt64(words[2]) | UInt64(words[3]) << 32 }
    var sector: UInt64 { UInt64(words[4]) | UInt64(words[5]) << 32 }

    /// Of a request that is not indirect, and has no more than such a one can have.
    var segments: [Segment] {
        precondition(!isIndirect && segmentCount <= Self.directSegments)
        return Self.segments(words[6..<(6 + segmentCount * 2)])
    }

    static func segments(_ words: ArraySlice<UInt32>) -> [Segment] {
        stride(from: words.startIndex, to: words.endIndex, by: 2).map { Segment(words[$0...]) }
    }

    /// The page that an indirect request's segments are in: there is room for all that it may have.
    var segmentPage: UInt32 { words[7] }

    /// Of a discard.
    var isSecure: Bool { words[0] >> 8 & 1 != 0 }
    var sectorCount: UInt64 { UInt64(words[6]) | UInt64(words[7]) << 32 }

    private static func operation(_ word: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: word) }

    /// What the guest is told.
    enum Status: Int16 {
        case done = 0
        case failed = -1
        case notSupported = -2
    }

    /// The words of the response: number, operation, status.
    func response(_ status: Status) -> [UInt32] {
        [words[2], words[3], UInt32(operation) | UInt32(UInt16(bitPattern: status.rawValue)) << 16]
    }
}
