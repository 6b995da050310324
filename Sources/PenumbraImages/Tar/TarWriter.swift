// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Writes an archive in POSIX's pax format, with extended headers where a header's fields lack room.
struct TarWriter {
    private let output: Descriptor

    init(to output: Descriptor) { self.output = output }

    /// Writes a member's header; exactly its size must follow by `write`, then `endContent`.
    func begin(_ entry: TarEntry) throws {
        let (type, linkName, device) = Self.fields(entry.kind)
        let records = try Self.records(entry, linkName)
        if !records.values.isEmpty {
            let content = records.bytes
            let header = TarEntry(path: Array("pax".utf8), kind: .file, size: UInt64(content.count))
            try output.write(TarHeader(header, type: UInt8(ascii: "x"), linkName: [], device: nil).bytes)
            try output.write(content + Self.padding(UInt64(content.count)))
        }
        try output.write(TarHeader(entry, type: type, linkName: linkName, device: device).bytes)
    }

    func write(_ bytes: [UInt8]) throws(SystemError) { try output.write(bytes) }

    func endContent(of entry: TarEntry) throws(SystemError) { try output.write(Self.padding(entry.size)) }

    /// A member whose content is at hand.
    func add(_ path: String, _ content: [UInt8]) throws {
        let entry = TarEntry(
            path: Array(path.utf8), kind: .file, metadata: FileMetadata(permissions: 0o644),
            size: UInt64(content.count))
        try begin(entry)
        try write(content)
        try endContent(of: entry)
    }

    /// The archive's end: two blocks of zeros.
    func finish() throws(SystemError) { try output.write([UInt8](repeating: 0, count: 2 * TarHeader.size)) }

    private static func padding(_ size: UInt64) -> [UInt8] {
        let block = UInt64(TarHeader.size)
        return [UInt8](repeating: 0, count: Int((block - size % block) % block))
    }

    private static func fields(_ kind: TarEntry.Kind) -> (UInt8, [UInt8], DeviceNumber?) {
        switch kind {
        case .file: (UInt8(ascii: "0"), [], nil)
        case .hardLink(let target): (UInt8(ascii: "1"), target, nil)
        case .symbolicLink(let target): (UInt8(ascii: "2"), target, nil)
        case .characterDevice(let number): (UInt8(ascii: "3"), [], number)
        case .blockDevice(let number): (UInt8(ascii: "4"), [], number)
        case .directory: (UInt8(ascii: "5"), [], nil)
        case .fifo: (UInt8(ascii: "6"), [], nil)
        }
    }

    /// What does not fit into the header's fields: 100 bytes of a name, 7 or 11 octal digits.
    private static func records(_ entry: TarEntry, _ linkName: [UInt8]) throws -> PaxRecords {
        var records = PaxRecords()
        func put(_ key: String, _ number: UInt64, digits: UInt64) throws {
            if number >> (3 * digits) != 0 { try records.set(key, Array(String(number).utf8)) }
        }
        if entry.path.count > 100 { try records.set("path", entry.path) }
        if linkName.count > 100 { try records.set("linkpath", linkName) }
        try put("size", entry.size, digits: 11)
        try put("uid", UInt64(entry.metadata.owner), digits: 7)
        try put("gid", UInt64(entry.metadata.group), digits: 7)
        for attribute in entry.metadata.attributes {
            try records.set(Array(TarReader.attributePrefix.utf8) + attribute.name, attribute.value)
        }
        return records
    }
}
