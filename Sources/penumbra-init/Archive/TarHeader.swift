// SPDX-License-Identifier: Apache-2.0

/// One entry of a tar archive: POSIX' pax interchange format (pax(1p)), whose headers are ustar's, with
/// records before them for what does not fit. Long names in GNU's way are read too.
struct TarHeader: Equatable {
    enum Kind: UInt8 {
        case file = 0x30
        case hardLink, symbolicLink, characterDevice, blockDevice, directory, pipe
        case extended = 0x78
        case globalExtended = 0x67
        case longName = 0x4c
        case longLink = 0x4b
    }

    enum Problem: Error, Equatable {
        case noHeader
        case badField
        case unknownKind(UInt8)

        var text: String {
            switch self {
            case .noHeader: "this is no tar archive, or it is damaged (a header's sum is wrong)"
            case .badField: "the archive is damaged: a header's field is no number"
            case .unknownKind(let kind): "the archive has an entry of type \(kind), which is not supported"
            }
        }
    }

    static let blockSize = 512

    var kind = Kind.file
    var name: [UInt8] = []
    var link: [UInt8] = []
    var mode: UInt32 = 0
    var user: UInt32 = 0
    var group: UInt32 = 0
    var size: UInt64 = 0
    /// Seconds since 1970.
    var modified: Int64 = 0
    var major: UInt32 = 0
    var minor: UInt32 = 0

    /// How many bytes of padding are behind so many bytes of content.
    static func padding(after size: UInt64) -> Int { Int((512 - size % 512) % 512) }

    // MARK: Writing

    /// Where a field is in a header: its start and its length.
    private enum Field {
        static let name = (0, 100)
        static let mode = (100, 8)
        static let user = (108, 8)
        static let group = (116, 8)
        static let size = (124, 12)
        static let modified = (136, 12)
        static let sum = (148, 8)
        static let kind = 156
        static let link = (157, 100)
        static let magic = (257, 8)
        static let major = (329, 8)
        static let minor = (337, 8)
        static let prefix = (345, 155)
    }

    /// The entry's header, with one for its records before it if it needs some.
    func bytes() -> [UInt8] {
        let records = records
        guard !records.isEmpty else { return block() }
        var extended = TarHeader()
        extended.kind = .extended
        extended.name = Array("pax".utf8)
        extended.mode = 0o644
        extended.size = UInt64(records.count)
        let padding = [UInt8](repeating: 0, count: Self.padding(after: extended.size))
        return extended.block() + records + padding + block()
    }

    private var records: [UInt8] {
        var records: [UInt8] = []
        if name.count > Field.name.1 { records += Self.record("path", name) }
        if link.count > Field.link.1 { records += Self.record("linkpath", link) }
        for (key, value, digits) in [("size", size, 11), ("uid", UInt64(user), 7), ("gid", UInt64(group), 7)]
        where value >> UInt64(digits * 3) != 0 {
            records += Self.record(key, Array(String(value).utf8))
        }
        return records
    }

    /// "LENGTH KEY=VALUE\n", whose length counts itself.
    static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = [UInt8(ascii: " ")] + Array(key.utf8) + [UInt8(ascii: "=")] + value + [UInt8(ascii: "\n")]
        var length = rest.count + 1
        while String(length).utf8.count + rest.count != length {
            length = String(length).utf8.count + rest.count
        }
        return Array(String(length).utf8) + rest
    }

    private func block() -> [UInt8] {
        var block = [UInt8](repeating: 0, count: Self.blockSize)
        func put(_ bytes: some Collection<UInt8>, _ field: (Int, Int)) {
            for (index, byte) in bytes.prefix(field.1).enumerated() { block[field.0 + index] = byte }
        }
        func put(_ number: UInt64, _ field: (Int, Int)) {
            let digits = Array(String(number, radix: 8).utf8)
            let zeros = [UInt8](repeating: UInt8(ascii: "0"), count: max(0, field.1 - 1 - digits.count))
            // What has more digits is in a record.
            put(zeros + digits.suffix(field.1 - 1), field)
        }
        put(name, Field.name)
        put(UInt64(mode & 0o7777), Field.mode)
        put(UInt64(user), Field.user)
        put(UInt64(group), Field.group)
        put(size, Field.size)
        put(UInt64(max(0, modified)), Field.modified)
        block[Field.kind] = kind.rawValue
        put(link, Field.link)
        put(Array("ustar\u{0}00".utf8), Field.magic)
        put(UInt64(major), Field.major)
        put(UInt64(minor), Field.minor)
        put([UInt8](repeating: UInt8(ascii: " "), count: 8), Field.sum)
        put(UInt64(Self.sum(block)), (Field.sum.0, 7))
        return block
    }

    private static func sum(_ block: [UInt8]) -> UInt32 { block.reduce(0) { $0 + UInt32($1) } }

    // MARK: Reading

    init() {}

    /// nil: a block of zeros, the archive's end.
    init?(_ block: [UInt8]) throws(Problem) {
        guard block.contains(where: { $0 != 0 }) else { return nil }
        var blank = block
        for index in Field.sum.0..<(Field.sum.0 + Field.sum.1) { blank[index] = UInt8(ascii: " ") }
        guard (try? Self.number(block, Field.sum)) == UInt64(Self.sum(blank)) else { throw .noHeader }
        // Old archives write a zero for a file, and "7" is a file too.
        let type =
            block[Field.kind] == 0 || block[Field.kind] == 0x37 ? Kind.file.rawValue : block[Field.kind]
        guard let kind = Kind(rawValue: type) else { throw .unknownKind(type) }
        self.kind = kind
        name = Self.text(block, Field.name)
        if Self.text(block, Field.magic).starts(with: Array("ustar".utf8)), block[Field.magic.0 + 5] == 0 {
            let prefix = Self.text(block, Field.prefix)
            if !prefix.isEmpty { name = prefix + [UInt8(ascii: "/")] + name }
        }
        link = Self.text(block, Field.link)
        mode = UInt32(truncatingIfNeeded: try Self.number(block, Field.mode))
        user = UInt32(truncatingIfNeeded: try Self.number(block, Field.user))
        group = UInt32(truncatingIfNeeded: try Self.number(block, Field.group))
        size = try Self.number(block, Field.size)
        modified = Int64(truncatingIfNeeded: try Self.number(block, Field.modified))
        major = UInt32(truncatingIfNeeded: try Self.number(block, Field.major))
        minor = UInt32(truncatingIfNeeded: try Self.number(block, Field.minor))
    }

    private static func text(_ block: [UInt8], _ field: (Int, Int)) -> [UInt8] {
        Array(block[field.0..<(field.0 + field.1)].prefix { $0 != 0 })
    }

    /// Octal digits between blanks and zeros; or, marked by the first bit, a binary number.
    private static func number(_ block: [UInt8], _ field: (Int, Int)) throws(Problem) -> UInt64 {
        let bytes = block[field.0..<(field.0 + field.1)]
        if bytes.first! & 0x80 != 0 {
            return bytes.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }
        }
        var value: UInt64 = 0
        for byte in bytes where byte != 0 && byte != UInt8(ascii: " ") {
            guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(byte) else { throw .badField }
            value = value << 3 | UInt64(byte & 7)
        }
        return value
    }

    /// What an extended header's records say; those of other keys mean nothing here.
    mutating func apply(records: [UInt8]) throws(Problem) {
        var rest = records[...]
        while !rest.isEmpty {
            let digits = rest.prefix { $0 != UInt8(ascii: " ") }
            guard let length = Int(String(decoding: digits, as: UTF8.self)), length > digits.count + 1,
                length <= rest.count
            else { throw .badField }
            let record = rest.prefix(length).dropFirst(digits.count + 1).dropLast()
            rest = rest.dropFirst(length)
            let key = record.prefix { $0 != UInt8(ascii: "=") }
            try apply(String(decoding: key, as: UTF8.self), Array(record.dropFirst(key.count + 1)))
        }
    }

    private mutating func apply(_ key: String, _ value: [UInt8]) throws(Problem) {
        let whole = String(decoding: value.prefix { $0 != UInt8(ascii: ".") }, as: UTF8.self)
        switch key {
        case "path": name = value
        case "linkpath": link = value
        case "size": size = try Self.required(UInt64(whole))
        case "uid": user = try Self.required(UInt32(whole))
        case "gid": group = try Self.required(UInt32(whole))
        case "mtime": modified = try Self.required(Int64(whole))
        default: return
        }
    }

    private static func required<Number>(_ number: Number?) throws(Problem) -> Number {
        guard let number else { throw .badField }
        return number
    }
}
