// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraVMM

/// Frames as a guest leaves them, with the pseudo header's sum where the checksum belongs.
enum Packets {
    private static let addresses: (source: [UInt8], target: [UInt8]) = ([10, 0, 2, 15], [192, 0, 2, 7])

    static func ethernet(_ type: [UInt8], _ payload: [UInt8]) -> [UInt8] {
        [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2] + type + payload
    }

    static func number(_ value: Int) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xff)] }

    static func ipv4(_ kind: UInt8, _ segment: [UInt8]) -> [UInt8] {
        [0x45, 0] + number(20 + segment.count) + [0, 0, 0x40, 0, 64, kind, 0, 0] + addresses.source
            + addresses.target + segment
    }

    /// The sum that RFC 793 and RFC 768 put before the segment.
    static func pseudoSum(_ kind: UInt8, count: Int) -> Int {
        sum(addresses.source + addresses.target + [0, kind] + number(count))
    }

    /// As slow and plain as the definition.
    static func sum(_ bytes: [UInt8]) -> Int {
        var total = 0
        for index in stride(from: 0, to: bytes.count, by: 2) {
            total += Int(bytes[index]) << 8 | (index + 1 < bytes.count ? Int(bytes[index + 1]) : 0)
            total = (total & 0xffff) + total >> 16
        }
        return total
    }

    static func tcp(_ payload: [UInt8]) -> [UInt8] {
        let count = 20 + payload.count
        return [0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x72, 0x10]
            + number(pseudoSum(6, count: count)) + [0, 0] + payload
    }

    static func udp(_ payload: [UInt8]) -> [UInt8] {
        let count = 8 + payload.count
        return [0, 53, 0, 53] + number(count) + number(pseudoSum(17, count: count)) + payload
    }

    /// A receiver's look: with the pseudo header everything sums up to all ones.
    static func isRight(_ segment: ArraySlice<UInt8>, _ kind: UInt8) -> Bool {
        let total = pseudoSum(kind, count: segment.count) + sum(Array(segment))
        return (total & 0xffff) + total >> 16 == 0xffff
    }
}

@Suite struct PacketChecksumTests {
    private func completed(_ frame: [UInt8]) -> ArraySlice<UInt8>? {
        var frame = frame[...]
        return PacketChecksum.complete(in: &frame) ? frame : nil
    }

    @Test func sumsAreThoseOfTheDefinition() {
        var random = SeededNumbers(5)
        for count in 0..<200 {
            let bytes = (0..<(count + 3)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            #expect(Int(bytes[3...].internetSum) == Packets.sum(Array(bytes[3...])))
        }
        #expect([UInt8](repeating: 0xff, count: 65535)[...].internetSum == UInt16(0xff00))
    }

    @Test(arguments: [0, 1, 2, 7, 1460, 65000]) func tcpAndUDPComeOutRight(_ count: Int) throws {
        let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
        let tcp = try #require(completed(Packets.ethernet([8, 0], Packets.ipv4(6, Packets.tcp(payload)))))
        #expect(Packets.isRight(tcp[34...], 6))
        let tagged = try #require(
            completed(Packets.ethernet([0x81, 0, 0, 5, 8, 0], Packets.ipv4(17, Packets.udp(payload)))))
        #expect(Packets.isRight(tagged[38...], 17))
    }

    /// An Ethernet frame has at least 60 bytes: what follows the packet is not part of it.
    @Test func paddingDoesNotCount() throws {
        let frame = Packets.ethernet([8, 0], Packets.ipv4(17, Packets.udp([1])))
        let plain = try #require(completed(frame))
        let padded = try #require(completed(frame + [UInt8](repeating: 0xee, count: 17)))
        #expect(padded.prefix(plain.count) == plain)
    }

    @Test func extensionHeadersAreSkipped() throws {
        let segment = Packets.tcp([1, 2, 3])
        let header: [UInt8] = [0x60, 0, 0, 0] + Packets.number(segment.count + 24) + [0, 64]
        let options: [UInt8] = [60, 0, 1, 4, 0, 0, 0, 0, 6, 1] + [UInt8](repeating: 0, count: 14)
        let frame = Packets.ethernet(
            [0x86, 0xdd], header + [UInt8](repeating: 9, count: 32) + options + segment)
        let done = try #require(completed(frame))
        #expect(done.dropLast(7).elementsEqual(frame.dropLast(7)))
        #expect(~done[(14 + 40 + 24)...].internetSum == ~UInt16(Packets.sum(Array(done.suffix(23)))))
        #expect(done != frame[...])
    }

    @Test func aUDPChecksumIsNeverZero() throws {
        // The field's sum and the rest make all ones.
        var segment = Packets.udp([0, 0])
        let rest = Packets.sum(segment)
        segment[8...] = Packets.number(0xffff - rest)[...]
        let done = try #require(completed(Packets.ethernet([8, 0], Packets.ipv4(17, segment))))
        #expect(done[40] == 0xff && done[41] == 0xff)
    }

    /// Cut anywhere, or of other kinds: never a byte changed out of place, never a trap.
    @Test func otherFramesAreLeftAlone() {
        let frame = Packets.ethernet([8, 0], Packets.ipv4(6, Packets.tcp([1, 2, 3])))
        for count in 0..<frame.count { #expect(completed(Array(frame.prefix(count))) == nil) }
        #expect(completed(Packets.ethernet([8, 6], [UInt8](repeating: 0, count: 46))) == nil)
        #expect(
            completed(Packets.ethernet([8, 0], Packets.ipv4(1, [UInt8](repeating: 0, count: 46)))) == nil)
        var random = SeededNumbers(9)
        for _ in 0..<5000 {
            var bytes = (0..<random.next(below: 90)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            if bytes.count > 24 {
                bytes.replaceSubrange(12..<15, with: [8, 0, 0x45 + UInt8(random.next(below: 4))])
            }
            let done = completed(bytes)
            #expect(done == nil || zip(done!, bytes).count { $0 != $1 } <= 2)
        }
    }
}
