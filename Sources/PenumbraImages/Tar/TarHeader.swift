// SPDX-License-Identifier: Apache-2.0

/// The block of 512 bytes that begins each member of an archive: fields at fixed places, numbers as
/// octal digits, or (GNU) as big-endian bytes behind one with its highest bit set.
struct TarHeader {
    static let size = 512
    private static let checksumField = 148..<156

    let bytes: [UInt8]

    var type: UInt8 { bytes[156] }
    var linkName: [UInt8] { string(157..<257) }
    var isZero: Bool { bytes.allSatisfy { $0 == 0 } }

    /// ustar continues long names in a field of their own; GNU's variant uses it for something else.
    var name: [UInt8] {
        let name = string(0..<100)
        guard bytes[257..<263].elementsEqual("ustar\0".utf8) else { return name }
        let prefix = string(345..<500)
        return prefix.isEmpty ? name : prefix + [UInt8(ascii: "/")] + name
    }

    var permissions: Int64? { number(100..<108) }
    var owner: Int64? { number(108..<116) }
    var group: Int64? { number(116..<124) }
    var contentSize: Int64? { number(124..<136) }
    var modified: Int64? { number(136..<148) }
    var deviceMajor: Int64? { number(329..<337) }
    var deviceMinor: Int64? { number(337..<345) }

    /// The sum of all bytes, those of the sum itself taken as spaces.
    var isSound: Bool {
        let sum = bytes.indices.reduce(0) { $0 + (Self.checksumField.contains($1) ? 0x20 : Int64(bytes[$1])) }
        return number(Self.checksumField) == sum
    }

    private func string(_ field: Range<Int>) -> [UInt8] { Array(bytes[field].prefix { $0 != 0 }) }

    /// nil: no number.
    private func number(_ field: Range<Int>) -> Int64? {
        let bytes = self.bytes[field]
        if let first = bytes.first, first & 0x80 != 0 { return binary(bytes) }
        let digits = bytes.drop { $0 == 0x20 }.prefix { $0 != 0x20 && $0 != 0 }
        var value: Int64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(digit), value < 1 << 59 else { return nil }
            value = value << 3 | Int64(digit - UInt8(ascii: "0"))
        }
        return value
    }

    /// Two's complement, from the bit below the highest.
    private func binary(_ bytes: ArraySlice<UInt8>) -> Int64? {
        let isNegative = bytes.first.map { $0 & 0x40 != 0 } ?? false
        var value: Int64 = isNegative ? -1 : 0
        for (index, byte) in bytes.enumerated() {
            let byte = index == 0 ? byte & 0x7f | (isNegative ? 0x80 : 0) : byte
            guard value >> 55 == (isNegative ? -1 : 0) else { return nil }
            value = value << 8 | Int64(byte)
        }
        return value
    }
}

extension TarHeader {
    /// What the header of `entry` says, as far as its fields have room: the rest is for pax records.
    init(_ entry: TarEntry, type: UInt8, linkName: [UInt8], device: DeviceNumber?) {
        var block = [UInt8](repeating: 0, count: Self.size)
        func put(_ text: some Sequence<UInt8>, _ field: Range<Int>) {
            for (index, byte) in zip(field, text) { block[index] = byte }
        }
        func put(_ number: UInt64, octal field: Range<Int>) {
            let digits = String(number, radix: 8)
            let room = field.count - 1
            guard digits.count <= room else { return }
            put((String(repeating: "0", count: room - digits.count) + digits).utf8, field)
        }
        put(entry.path, 0..<100)
        put(UInt64(entry.metadata.permissions), octal: 100..<108)
        put(UInt64(entry.metadata.owner), octal: 108..<116)
        put(UInt64(entry.metadata.group), octal: 116..<124)
        put(entry.size, octal: 124..<136)
        put(UInt64(entry.metadata.modified), octal: 136..<148)
        block[156] = type
        put(linkName, 157..<257)
        put("ustar\u{0}00".utf8, 257..<265)
        put(UInt64(device?.major ?? 0), octal: 329..<337)
        put(UInt64(device?.minor ?? 0), octal: 337..<345)
        for index in Self.checksumField { block[index] = 0x20 }
        put(block.reduce(0) { $0 + UInt64($1) }, octal: 148..<155)
        bytes = block
    }
}
