// SPDX-License-Identifier: Apache-2.0

extension ArraySlice<UInt8> {
    /// The ones' complement sum of its 16-bit words, the first byte of each the higher one, as the
    /// checksums of IP, TCP and UDP have it (RFC 1071). A last single byte counts as the higher one.
    var internetSum: UInt16 {
        withUnsafeBytes { bytes in
            var sum: UInt64 = 0
            var offset = 0
            // Eight bytes at a time: carries come back in at the bottom, in whatever byte order (RFC 1071, 2).
            while offset + 8 <= bytes.count {
                // Inside the slice: see the condition.
                let (next, carry) = sum.addingReportingOverflow(
                    bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                sum = next &+ (carry ? 1 : 0)
                offset += 8
            }
            var rest: UInt64 = 0
            for index in offset..<bytes.count { rest |= UInt64(bytes[index]) << UInt64((index - offset) * 8) }
            let (total, carry) = sum.addingReportingOverflow(rest)
            return UInt16(folding: total &+ (carry ? 1 : 0)).byteSwapped
        }
    }
}

extension UInt16 {
    fileprivate init(folding sum: UInt64) {
        var sum = sum
        while sum >> 16 != 0 { sum = (sum & 0xffff) + (sum >> 16) }
        self = UInt16(sum)
    }
}
