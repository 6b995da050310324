// SPDX-License-Identifier: Apache-2.0

/// The content of pax extended headers: records "LENGTH KEY=VALUE\n", where LENGTH counts all of its
/// record. Keys and values are bytes; a later record of a key takes the place of an earlier one.
struct PaxRecords {
    /// Of all records together, in bytes: the attributes that Linux lets a file have, and some names.
    static let maximumSize = 1 << 20

    private(set) var values: [[UInt8]: [UInt8]] = [:]
    private var size = 0

    init() {}

    init(_ bytes: [UInt8]) throws(ImageError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let record = try Self.takeRecord(&rest)
            guard let equals = record.firstIndex(of: UInt8(ascii: "=")) else { throw Self.problem }
            try set(Array(record[..<equals]), Array(record[(equals + 1)...]))
        }
    }

    private static let problem = ImageError.damaged(
        "an archive", "it has a pax header that cannot be understood")

    /// The text between the length and the newline.
    private static func takeRecord(_ rest: inout ArraySlice<UInt8>) throws(ImageError) -> ArraySlice<UInt8> {
        guard let space = rest.prefix(maximumDigits).firstIndex(of: 0x20),
            let length = Int(String(decoding: rest[..<space], as: UTF8.self)),
            length > space - rest.startIndex + 1, length <= rest.count,
            rest[rest.startIndex + length - 1] == 0x0a
        else { throw problem }
        let record = rest[(space + 1)..<(rest.startIndex + length - 1)]
        rest = rest.dropFirst(length)
        return record
    }

    /// Of a length that `maximumSize` allows, with the space behind it.
    private static let maximumDigits = 8

    /// nil also for an empty value: by it POSIX takes a record back.
    subscript(_ key: String) -> [UInt8]? {
        guard let value = values[Array(key.utf8)], !value.isEmpty else { return nil }
        return value
    }

    mutating func set(_ key: [UInt8], _ value: [UInt8]) throws(ImageError) {
        size += key.count + value.count
        guard size <= Self.maximumSize else {
            throw .tooLarge(what: "an extended header", limit: "\(Self.maximumSize >> 20) MiB")
        }
        values[key] = value
    }

    mutating func set(_ key: String, _ value: [UInt8]) throws(ImageError) { try set(Array(key.utf8), value) }

    mutating func merge(_ other: PaxRecords) throws(ImageError) {
        for (key, value) in other.values { try set(key, value) }
    }

    func hasKey(withPrefix prefix: String) -> Bool { values.keys.contains { $0.starts(with: prefix.utf8) } }

    /// The header's content.
    var bytes: [UInt8] {
        values.sorted { $0.key.lexicographicallyPrecedes($1.key) }.flatMap { key, value in
            let text = [0x20] + key + [UInt8(ascii: "=")] + value + [0x0a]
            // The length counts its own digits.
            var length = text.count + 1
            while String(length).utf8.count + text.count != length { length += 1 }
            return Array(String(length).utf8) + text
        }
    }
}
