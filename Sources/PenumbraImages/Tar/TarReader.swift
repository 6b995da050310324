// SPDX-License-Identifier: Apache-2.0

/// Reads an archive member by member: ustar, pax, and GNU's long names. What changes a file's content
/// or cannot be told from the stream alone (sparse files, volumes) is refused.
final class TarReader {
    static let attributePrefix = "SCHILY.xattr."

    private let source: BufferedSource
    /// Of the present member: content, and the padding behind it.
    private var remaining: UInt64 = 0
    private var padding = 0
    private var globalRecords = PaxRecords()

    init(_ source: ByteSource) { self.source = BufferedSource(source) }

    /// The next member; nil at the archive's end. What was not read of the last one's content is skipped.
    func next() throws -> TarEntry? {
        try skipContent()
        var records = globalRecords
        var isAwaited = false
        while let header = try nextHeader() {
            isAwaited = true
            switch header.type {
            case UInt8(ascii: "x"): try records.merge(try PaxRecords(try readExtension(header)))
            case UInt8(ascii: "g"):
                let more = try PaxRecords(try readExtension(header))
                try globalRecords.merge(more)
                try records.merge(more)
            case UInt8(ascii: "L"):
                try records.set("path", Array(try readExtension(header).prefix { $0 != 0 }))
            case UInt8(ascii: "K"):
                try records.set("linkpath", Array(try readExtension(header).prefix { $0 != 0 }))
            case UInt8(ascii: "V"):
                try skip(header)
                isAwaited = false
            default: return try entry(header, records)
            }
        }
        // An extended header is for a member that follows.
        if isAwaited { throw Self.cutOff }
        return nil
    }

    /// Some of the present member's content; none at its end.
    func readContent(atMost count: Int) throws -> [UInt8] {
        guard remaining > 0 else { return [] }
        let bytes = try source.read(atMost: Int(min(UInt64(count), remaining)))
        guard !bytes.isEmpty else { throw Self.cutOff }
        remaining -= UInt64(bytes.count)
        return bytes
    }

    /// Reads what follows the archive's end: it belongs to the stream's digest.
    func drain() throws {
        try skipContent()
        try source.drain()
    }

    static let cutOff = ImageError.damaged("an archive", "it is cut off")

    private func skipContent() throws {
        while try !readContent(atMost: StreamSize.chunk).isEmpty {}
        guard try source.read(exactly: padding).count == padding else { throw Self.cutOff }
        padding = 0
    }

    /// nil at the end: a block of zeros, or no block at all.
    private func nextHeader() throws -> TarHeader? {
        let header = TarHeader(bytes: try source.read(exactly: TarHeader.size))
        if header.bytes.isEmpty { return nil }
        guard header.bytes.count == TarHeader.size else { throw Self.cutOff }
        if header.isZero { return nil }
        guard header.isSound else {
            throw ImageError.damaged("an archive", "a header has a wrong check sum, or it is no tar archive")
        }
        return header
    }

    private func begin(_ size: UInt64) {
        remaining = size
        padding = Int((UInt64(TarHeader.size) - size % UInt64(TarHeader.size)) % UInt64(TarHeader.size))
    }

    private func skip(_ header: TarHeader) throws {
        begin(try Self.unsigned(header.contentSize, "a size", in: header.name))
        try skipContent()
    }

    private func readExtension(_ header: TarHeader) throws -> [UInt8] {
        let size = try Self.unsigned(header.contentSize, "a size", in: header.name)
        guard size <= PaxRecords.maximumSize else {
            throw ImageError.tooLarge(
                what: "an extended header", limit: "\(PaxRecords.maximumSize >> 20) MiB")
        }
        begin(size)
        var bytes: [UInt8] = []
        while true {
            let more = try readContent(atMost: Int(size))
            if more.isEmpty { break }
            bytes += more
        }
        try skipContent()
        return bytes
    }

    // MARK: A header's meaning

    private func entry(_ header: TarHeader, _ records: PaxRecords) throws -> TarEntry {
        let path = records["path"] ?? header.name
        if records.hasKey(withPrefix: "GNU.sparse.") { throw Self.sparse(path) }
        let kind = try kind(header, records, path)
        let size = try Self.unsigned(
            try Self.decimal(records["size"]) ?? header.contentSize, "a size", in: path)
        // Links, devices and directories have no content, whatever the field says.
        let hasContent = if case .file = kind { true } else { false }
        begin(hasContent ? size : 0)
        return TarEntry(
            path: path, kind: kind, metadata: try metadata(header, records, path), size: hasContent ? size : 0
        )
    }

    private static func sparse(_ path: [UInt8]) -> ImageError {
        .unsupported(
            "the sparse file '\(printable(path))' in a layer", "make the layer without tar's --sparse")
    }

    private func kind(_ header: TarHeader, _ records: PaxRecords, _ path: [UInt8]) throws -> TarEntry.Kind {
        let target = records["linkpath"] ?? header.linkName
        switch header.type {
        // Before POSIX a directory was a file whose name ends with a slash.
        case 0, UInt8(ascii: "0"), UInt8(ascii: "7"):
            return path.last == UInt8(ascii: "/") ? .directory : .file
        case UInt8(ascii: "1"): return .hardLink(target: target)
        case UInt8(ascii: "2"): return .symbolicLink(target: target)
        case UInt8(ascii: "3"): return .characterDevice(try device(header, records, path))
        case UInt8(ascii: "4"): return .blockDevice(try device(header, records, path))
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        case UInt8(ascii: "S"): throw Self.sparse(path)
        default:
            throw ImageError.unsupported(
                "'\(printable(path))', of type '\(printable([header.type]))' in a layer",
                "make the layer with files, links, directories, devices and pipes only")
        }
    }

    private func device(
        _ header: TarHeader, _ records: PaxRecords, _ path: [UInt8]
    ) throws -> DeviceNumber {
        let major = try Self.decimal(records["SCHILY.devmajor"]) ?? header.deviceMajor
        let minor = try Self.decimal(records["SCHILY.devminor"]) ?? header.deviceMinor
        // The kernel's dev_t has 12 and 20 bits (include/linux/kdev_t.h).
        guard let major, let minor, (0..<(1 << 12)).contains(major), (0..<(1 << 20)).contains(minor) else {
            throw ImageError.hostilePath(
                path: printable(path), reason: "has a device number that Linux has not")
        }
        return DeviceNumber(major: UInt32(major), minor: UInt32(minor))
    }

    private func metadata(
        _ header: TarHeader, _ records: PaxRecords, _ path: [UInt8]
    ) throws -> FileMetadata {
        let owner = try Self.unsigned(try Self.decimal(records["uid"]) ?? header.owner, "an owner", in: path)
        let group = try Self.unsigned(try Self.decimal(records["gid"]) ?? header.group, "a group", in: path)
        guard let owner = UInt32(exactly: owner), let group = UInt32(exactly: group) else {
            throw ImageError.damaged("a layer", "'\(printable(path))' belongs to nobody that Linux knows")
        }
        guard let modified = try Self.decimal(records["mtime"]) ?? header.modified else {
            throw ImageError.damaged("an archive", "'\(printable(path))' has a time that is no number")
        }
        let permissions = try Self.unsigned(header.permissions, "a mode", in: path)
        return FileMetadata(
            permissions: UInt16(permissions & 0o7777), owner: owner, group: group,
            modified: UInt32(clamping: modified), attributes: try attributes(records, path))
    }

    private func attributes(_ records: PaxRecords, _ path: [UInt8]) throws -> [ExtendedAttribute] {
        let prefix = Array(Self.attributePrefix.utf8)
        return try records.values.filter { $0.key.starts(with: prefix) }.map { key, value in
            let name = Array(key.dropFirst(prefix.count))
            guard (1...LinuxLimits.attributeName).contains(name.count), !name.contains(0),
                value.count <= LinuxLimits.attributeValue
            else {
                throw ImageError.damaged(
                    "a layer", "'\(printable(path))' has an extended attribute that Linux would not take")
            }
            return ExtendedAttribute(name: name, value: value)
        }.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    private static func unsigned(_ number: Int64?, _ what: String, in path: [UInt8]) throws -> UInt64 {
        guard let number, number >= 0 else {
            throw ImageError.damaged("an archive", "'\(printable(path))' has \(what) that is no number")
        }
        return UInt64(number)
    }

    /// The whole part of a number.
    private static func decimal(_ value: [UInt8]?) throws -> Int64? {
        guard let value else { return nil }
        let whole = value.prefix { $0 != UInt8(ascii: ".") }
        guard let number = Int64(String(decoding: whole, as: UTF8.self)) else {
            throw ImageError.damaged("an archive", "'\(printable(value))' in a pax header is no number")
        }
        return number
    }
}
