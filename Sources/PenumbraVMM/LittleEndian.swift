// SPDX-License-Identifier: Apache-2.0

extension RandomAccessCollection<UInt8> where Index == Int {
    /// The little-endian number at `offset` from the collection's start; nil if it does not end within.
    func number<Number: FixedWidthInteger>(at offset: Int, as: Number.Type) -> Number? {
        let size = Number.bitWidth / 8
        guard offset >= 0, offset <= count, size <= count - offset else { return nil }
        let start = startIndex + offset
        return self[start..<(start + size)].reversed().reduce(0) { $0 << 8 | Number($1) }
    }
}

extension FixedWidthInteger {
    var littleEndianBytes: [UInt8] {
        (0..<(Self.bitWidth / 8)).map { UInt8(truncatingIfNeeded: self >> ($0 * 8)) }
    }
}
