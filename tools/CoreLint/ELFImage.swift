// SPDX-License-Identifier: Apache-2.0

/// The headers of a 64-bit little-endian ELF file (System V gABI, chapters 4 and 5).
public struct ELFImage: Sendable {
    struct Section: Sendable {
        let name: String
        let type: UInt32
        let flags: UInt64
        let address: UInt64
        let offset: UInt64
        let size: UInt64
        let link: UInt32

        var isAllocated: Bool { flags & 0x2 != 0 }
        var isWritable: Bool { flags & 0x1 != 0 }
        var isRelocation: Bool { type == 4 || type == 9 || type == 19 }
        var isSymbolTable: Bool { type == 2 || type == 11 }
    }

    struct Segment: Sendable {
        let type: UInt32
        let flags: UInt32
        let address: UInt64
        let size: UInt64

        var isLoaded: Bool { type == 1 }
        var isExecutable: Bool { flags & 1 != 0 }
        var isWritable: Bool { flags & 2 != 0 }
    }

    struct Symbol: Sendable {
        let name: String
        let sectionIndex: UInt16
        let address: UInt64
    }

    public struct FormatError: Error, CustomStringConvertible {
        public let description: String
    }

    let type: UInt16
    let sections: [Section]
    let segments: [Segment]
    let symbols: [Symbol]

    public init(_ bytes: [UInt8]) throws(FormatError) {
        let file = ByteReader(bytes)
        guard bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2, 1]) else {
            throw FormatError(description: "not a 64-bit little-endian ELF file; give the linked core image")
        }
        guard try file.u16(at: 18) == 62 else {
            throw FormatError(description: "not an x86-64 ELF file; give the linked core image")
        }
        type = try file.u16(at: 16)
        segments = try Self.readSegments(file)
        sections = try Self.readSections(file)
        symbols = try Self.readSymbols(file, sections)
    }

    private static func readSegments(_ file: ByteReader) throws(FormatError) -> [Segment] {
        let table = try file.u64(at: 32)
        let entrySize = UInt64(try file.u16(at: 54))
        var segments: [Segment] = []
        for index in 0..<UInt64(try file.u16(at: 56)) {
            let at = table &+ index * entrySize
            segments.append(
                Segment(
                    type: try file.u32(at: at), flags: try file.u32(at: at &+ 4),
                    address: try file.u64(at: at &+ 16), size: try file.u64(at: at &+ 40)))
        }
        return segments
    }

    private static func readSections(_ file: ByteReader) throws(FormatError) -> [Section] {
        let table = try file.u64(at: 40)
        let entrySize = UInt64(try file.u16(at: 58))
        let count = UInt64(try file.u16(at: 60))
        guard count > 0 else { return [] }
        let names = try file.u64(at: table &+ UInt64(try file.u16(at: 62)) * entrySize &+ 24)
        var sections: [Section] = []
        for index in 0..<count {
            let at = table &+ index * entrySize
            sections.append(
                Section(
                    name: try file.string(at: names &+ UInt64(try file.u32(at: at))),
                    type: try file.u32(at: at &+ 4), flags: try file.u64(at: at &+ 8),
                    address: try file.u64(at: at &+ 16), offset: try file.u64(at: at &+ 24),
                    size: try file.u64(at: at &+ 32), link: try file.u32(at: at &+ 40)))
        }
        return sections
    }

    private static func readSymbols(
        _ file: ByteReader, _ sections: [Section]
    ) throws(FormatError) -> [Symbol] {
        var symbols: [Symbol] = []
        for table in sections where table.isSymbolTable {
            guard Int(table.link) < sections.count else {
                throw FormatError(description: "the section \(table.name) names no string table")
            }
            let names = sections[Int(table.link)].offset
            for index in 0..<(table.size / 24) {
                let at = table.offset &+ index * 24
                symbols.append(
                    Symbol(
                        name: try file.string(at: names &+ UInt64(try file.u32(at: at))),
                        sectionIndex: try file.u16(at: at &+ 6), address: try file.u64(at: at &+ 8)))
            }
        }
        return symbols
    }
}

/// Bounds-checked little-endian reads.
private struct ByteReader {
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    private func integer(at offset: UInt64, size: UInt64) throws(ELFImage.FormatError) -> UInt64 {
        guard offset <= UInt64(bytes.count), UInt64(bytes.count) - offset >= size else {
            throw ELFImage.FormatError(description: "the file ends before offset \(offset); link it again")
        }
        return (0..<size).reversed().reduce(0) { $0 << 8 | UInt64(bytes[Int(offset + $1)]) }
    }

    func u16(at offset: UInt64) throws(ELFImage.FormatError) -> UInt16 {
        UInt16(truncatingIfNeeded: try integer(at: offset, size: 2))
    }
    func u32(at offset: UInt64) throws(ELFImage.FormatError) -> UInt32 {
        UInt32(truncatingIfNeeded: try integer(at: offset, size: 4))
    }
    func u64(at offset: UInt64) throws(ELFImage.FormatError) -> UInt64 { try integer(at: offset, size: 8) }

    /// Up to the terminating zero.
    func string(at offset: UInt64) throws(ELFImage.FormatError) -> String {
        guard offset < UInt64(bytes.count), let end = bytes[Int(offset)...].firstIndex(of: 0) else {
            throw ELFImage.FormatError(description: "a name lies outside the file; link it again")
        }
        return String(decoding: bytes[Int(offset)..<end], as: UTF8.self)
    }
}
