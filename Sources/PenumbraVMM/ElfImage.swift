// SPDX-License-Identifier: Apache-2.0

/// A static ELF64 program (System V gABI, chapters 4 and 5), read as if an enemy had made it.
public struct ElfImage: Sendable {
    public struct Segment: Equatable, Sendable {
        public let content: Range<Int>
        public let physical: GuestPhysical
        public let virtual: UInt64
        public let memorySize: UInt64

        var end: UInt64 { physical.value + memorySize }
    }

    public enum Problem: Error, Equatable, CustomStringConvertible {
        case notElf
        case notX8664
        case notStatic
        case truncated(String)
        case noSegments
        case emptyMemory(segment: Int)
        case outside(segment: Int, end: UInt64, limit: UInt64)
        case overlap(Int, Int)
        case entryOutside(UInt64)

        public var description: String {
            switch self {
            case .notElf: "it is no ELF file of 64 bits, little-endian"
            case .notX8664: "it is made for another machine than x86-64"
            case .notStatic: "it is not statically linked at a fixed address: link it with -static, not -pie"
            case .truncated(let what): "it ends before its \(what)"
            case .noSegments: "it has nothing to load"
            case .emptyMemory(let segment): "segment \(segment) has more bytes in the file than in memory"
            case .outside(let segment, let end, let limit):
                "segment \(segment) ends at 0x\(String(end, radix: 16)), the guest's memory for programs at "
                    + "0x\(String(limit, radix: 16)): give the guest more memory"
            case .overlap(let first, let second): "segments \(first) and \(second) overlap"
            case .entryOutside(let entry): "its entry point 0x\(String(entry, radix: 16)) is in no segment"
            }
        }
    }

    /// e_ident and the constants of elf.h.
    private static let magic: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]
    static let headerSize = 64
    static let programHeaderSize = 56
    private static let executable: UInt16 = 2
    private static let x8664: UInt16 = 62
    static let (load, dynamic, interpreter, note): (UInt32, UInt32, UInt32, UInt32) = (1, 2, 3, 4)

    public let bytes: [UInt8]
    public let entry: UInt64
    public let segments: [Segment]
    /// Where in `bytes` its notes are.
    let notes: [Range<Int>]

    static func isElf(_ bytes: [UInt8]) -> Bool { bytes.starts(with: magic) }

    /// Every segment must end below `limit`. The entry point is not looked at: see `checkEntry`.
    public init(_ bytes: [UInt8], limit: UInt64) throws(Problem) {
        guard Self.isElf(bytes) else { throw .notElf }
        let reader = Reader(bytes: bytes)
        guard bytes.count >= Self.headerSize else { throw .truncated("header") }
        guard reader.number(at: 18, as: UInt16.self) == Self.x8664 else { throw .notX8664 }
        guard reader.number(at: 16, as: UInt16.self) == Self.executable else { throw .notStatic }
        self.bytes = bytes
        entry = reader.number(at: 24, as: UInt64.self)
        (segments, notes) = try Self.contents(reader, limit: limit)
        guard !segments.isEmpty else { throw .noSegments }
        try Self.checkOverlaps(segments)
    }

    /// For programs that start at their entry point, by its virtual address.
    func checkEntry() throws(Problem) {
        guard segments.contains(where: { entry >= $0.virtual && entry - $0.virtual < $0.memorySize }) else {
            throw .entryOutside(entry)
        }
    }

    /// The first address above all segments.
    var end: UInt64 { segments.map(\.end).max() ?? 0 }

    /// Copies all segments to where they belong; what they do not fill is left as it is.
    func load(into memory: GuestMemory) throws(VMMError) {
        for segment in segments { try memory.write(bytes[segment.content], at: segment.physical) }
    }

    private static func contents(
        _ reader: Reader, limit: UInt64
    ) throws(Problem) -> (segments: [Segment], notes: [Range<Int>]) {
        let table = reader.number(at: 32, as: UInt64.self)
        let count = Int(reader.number(at: 56, as: UInt16.self))
        let tableSize = UInt64(count * programHeaderSize)
        guard count == 0 || reader.number(at: 54, as: UInt16.self) == programHeaderSize else {
            throw .truncated("program headers")
        }
        guard table <= UInt64(reader.bytes.count), tableSize <= UInt64(reader.bytes.count) - table else {
            throw .truncated("program headers")
        }
        var segments: [Segment] = []
        var notes: [Range<Int>] = []
        for index in 0..<count {
            let header = Int(table) + index * programHeaderSize
            switch reader.number(at: header, as: UInt32.self) {
            case dynamic, interpreter: throw .notStatic
            case load:
                let memorySize = reader.number(at: header + 40, as: UInt64.self)
                if memorySize > 0 { segments.append(try segment(reader, header, index, limit)) }
            case note: notes.append(try content(reader, header, index))
            default: continue
            }
        }
        return (segments, notes)
    }

    /// The bytes in the file that belong to a program header.
    private static func content(_ reader: Reader, _ header: Int, _ index: Int) throws(Problem) -> Range<Int> {
        let offset = reader.number(at: header + 8, as: UInt64.self)
        let size = reader.number(at: header + 32, as: UInt64.self)
        let fileEnd = UInt64(reader.bytes.count)
        guard offset <= fileEnd, size <= fileEnd - offset else { throw .truncated("segment \(index)") }
        return Int(offset)..<Int(offset + size)
    }

    private static func segment(
        _ reader: Reader, _ header: Int, _ index: Int, _ limit: UInt64
    ) throws(Problem) -> Segment {
        let virtual = reader.number(at: header + 16, as: UInt64.self)
        let physical = reader.number(at: header + 24, as: UInt64.self)
        let fileSize = reader.number(at: header + 32, as: UInt64.self)
        let memorySize = reader.number(at: header + 40, as: UInt64.self)
        guard fileSize <= memorySize else { throw .emptyMemory(segment: index) }
        let content = try content(reader, header, index)
        guard memorySize <= limit, physical <= limit - memorySize else {
            throw .outside(segment: index, end: physical &+ memorySize, limit: limit)
        }
        return Segment(
            content: content, physical: GuestPhysical(physical), virtual: virtual, memorySize: memorySize)
    }

    private static func checkOverlaps(_ segments: [Segment]) throws(Problem) {
        let order = segments.indices.sorted { segments[$0].physical < segments[$1].physical }
        for (lower, upper) in zip(order, order.dropFirst())
        where segments[lower].end > segments[upper].physical.value {
            throw .overlap(min(lower, upper), max(lower, upper))
        }
    }

    private struct Reader {
        let bytes: [UInt8]

        /// At an offset that the caller has checked.
        func number<Number: FixedWidthInteger>(at offset: Int, as: Number.Type) -> Number {
            bytes.number(at: offset, as: Number.self)!
        }
    }
}
