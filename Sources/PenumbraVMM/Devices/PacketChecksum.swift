// SPDX-License-Identifier: Apache-2.0

/// Completes the checksum of a packet that a guest left to its network device: the field holds the sum
/// of the pseudo header, and what the checksum covers is to be added (Xen's public/io/netif.h,
/// XEN_NETTXF_csum_blank).
enum PacketChecksum {
    private static let (ethernetHeader, vlanTag) = (14, 4)
    private static let (typeIPv4, typeIPv6, typeVLAN): (UInt16, UInt16, UInt16) = (0x0800, 0x86dd, 0x8100)
    private static let (tcp, udp): (UInt8, UInt8) = (6, 17)
    /// Of IPv6, with a length each: hop-by-hop options, routing, destination options (RFC 8200, 4).
    private static let extensionHeaders: Set<UInt8> = [0, 43, 60]
    private static let extensionLimit = 8

    /// What TCP or UDP made of a frame.
    private struct Segment {
        var isUDP: Bool
        var bytes: Range<Int>
        /// Where the checksum is.
        var field: Int
    }

    /// Says whether there was one to complete; `frame` is an Ethernet frame.
    static func complete(in frame: inout ArraySlice<UInt8>) -> Bool {
        guard let segment = segment(of: frame) else { return false }
        let sum = ~frame[segment.bytes].internetSum
        // UDP has no zero: that stands for no checksum (RFC 768).
        let checksum = segment.isUDP && sum == 0 ? 0xffff : sum
        frame[segment.field] = UInt8(checksum >> 8)
        frame[segment.field + 1] = UInt8(truncatingIfNeeded: checksum)
        return true
    }

    private static func segment(of frame: ArraySlice<UInt8>) -> Segment? {
        var offset = frame.startIndex + ethernetHeader
        var type = number(in: frame, at: offset - 2)
        if type == typeVLAN {
            offset += vlanTag
            type = number(in: frame, at: offset - 2)
        }
        switch type {
        case typeIPv4: return segmentOfIPv4(frame, at: offset)
        case typeIPv6: return segmentOfIPv6(frame, at: offset)
        default: return nil
        }
    }

    private static func segmentOfIPv4(_ frame: ArraySlice<UInt8>, at start: Int) -> Segment? {
        guard let length = number(in: frame, at: start + 2), start + 20 <= frame.endIndex else { return nil }
        let header = Int(frame[start] & 0xf) * 4
        guard frame[start] >> 4 == 4, header >= 20 else { return nil }
        return segment(
            frame[start + 9], start + header, end: start + Int(length), in: frame)
    }

    private static func segmentOfIPv6(_ frame: ArraySlice<UInt8>, at start: Int) -> Segment? {
        guard let length = number(in: frame, at: start + 4), start + 40 <= frame.endIndex,
            frame[start] >> 4 == 6
        else { return nil }
        let end = start + 40 + Int(length)
        var (kind, offset) = (frame[start + 6], start + 40)
        for _ in 0..<extensionLimit where extensionHeaders.contains(kind) {
            guard offset + 2 <= min(end, frame.endIndex) else { return nil }
            (kind, offset) = (frame[offset], offset + (Int(frame[offset + 1]) + 1) * 8)
        }
        return segment(kind, offset, end: end, in: frame)
    }

    private static func segment(
        _ kind: UInt8, _ start: Int, end: Int, in frame: ArraySlice<UInt8>
    ) -> Segment? {
        let field: Int
        switch kind {
        case tcp: field = start + 16
        case udp: field = start + 6
        default: return nil
        }
        guard end <= frame.endIndex, field + 2 <= end else { return nil }
        return Segment(isUDP: kind == udp, bytes: start..<end, field: field)
    }

    private static func number(in frame: ArraySlice<UInt8>, at offset: Int) -> UInt16? {
        guard offset + 2 <= frame.endIndex else { return nil }
        return UInt16(frame[offset]) << 8 | UInt16(frame[offset + 1])
    }
}
