// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// The ring by which a guest sends (Xen's public/io/netif.h). A packet is one request, an extra one
/// behind it if it says so, and more while they say so; each is answered on its own. Requests have three
/// words of 32 bits:
///
///     word 0    grant of the page
///     word 1    offset in it (16 bits), flags
///     word 2    the guest's number for the request (16 bits), size: the whole packet's in the first one
struct NetworkTransmit {
    /// In words.
    static let slotSize = 3
    /// netif.h, XEN_NETIF_NR_SLOTS_MIN, and one that tells the size of segments.
    private static let packetLimit = 18
    private static let extraLimit = 2
    private static let ethernetHeader = 14

    private enum Flags {
        static let checksumBlank: UInt32 = 1
        static let more: UInt32 = 4
        static let extra: UInt32 = 8
    }

    private enum Status {
        static let failed: Int16 = -1
        static let done: Int16 = 0
        /// Of an extra request, which the guest knows by its place.
        static let null: Int16 = 1
    }

    enum Problem: Error, Equatable, CustomStringConvertible {
        case unfinished
        case tooManyRequests

        var description: String {
            switch self {
            case .unfinished: "the guest's driver announced more of a packet than there is in the ring"
            case .tooManyRequests: "the guest's driver cut a packet into more than it may"
            }
        }
    }

    /// A packet as the guest describes it.
    private struct Packet {
        var references: [UInt32] = []
        var offsets: [Int] = []
        var sizes: [Int] = []
        var flags: UInt32 = 0
        /// Answers in the order of the requests: the guest's number, and whether it is an extra one.
        var answers: [(identifier: UInt32, isExtra: Bool)] = []
    }

    private var ring: BackRing
    private let grants: GrantTable

    init(_ ring: BackRing, grants: GrantTable) { (self.ring, self.grants) = (ring, grants) }

    /// Moves a packet to the network, if there is one; says whether there was.
    mutating func move(to stream: inout FrameStream) throws -> Bool {
        guard let packet = try takePacket() else { return false }
        var isGood = false
        try stream.append { bytes in
            isGood = try append(packet, to: &bytes)
            return isGood
        }
        for (identifier, isExtra) in packet.answers {
            let status = isExtra ? Status.null : isGood ? Status.done : Status.failed
            try ring.answer([identifier | UInt32(UInt16(bitPattern: status)) << 16])
        }
        return true
    }

    /// Shows the guest the answers; says whether it wants an event for them.
    mutating func publish() throws -> Bool { try ring.publish() }

    func awaitRequests() throws -> Bool { try ring.awaitRequests() }

    private mutating func takePacket() throws -> Packet? {
        guard let first = try ring.take() else { return nil }
        var packet = Packet()
        packet.flags = first[1] >> 16
        Self.add(first, to: &packet)
        var hasExtra = packet.flags & Flags.extra != 0
        while hasExtra {
            guard let extra = try ring.take() else { throw Problem.unfinished }
            guard packet.answers.count <= Self.extraLimit else { throw Problem.tooManyRequests }
            packet.answers.append((0, isExtra: true))
            // Type, flags, size of segments: the peer takes packets that are not cut.
            hasExtra = extra[0] >> 8 & 1 != 0
        }
        var hasMore = packet.flags & Flags.more != 0
        while hasMore {
            guard let next = try ring.take() else { throw Problem.unfinished }
            guard packet.sizes.count < Self.packetLimit else { throw Problem.tooManyRequests }
            Self.add(next, to: &packet)
            hasMore = next[1] >> 16 & Flags.more != 0
        }
        // Its own part of the packet's size.
        packet.sizes[0] -= packet.sizes.dropFirst().reduce(0, +)
        return packet
    }

    private static func add(_ request: [UInt32], to packet: inout Packet) {
        packet.references.append(request[0])
        packet.offsets.append(Int(request[1] & 0xffff))
        packet.sizes.append(Int(request[2] >> 16))
        packet.answers.append((request[2] & 0xffff, isExtra: false))
    }

    /// False for a packet that no driver should make, or whose grants do not suffice.
    private func append(_ packet: Packet, to bytes: inout [UInt8]) throws -> Bool {
        let pageSize = Int(PENUMBRA_PAGE_SIZE)
        let fits = zip(packet.offsets, packet.sizes).allSatisfy { $1 >= 0 && $0 + $1 <= pageSize }
        let size = packet.sizes.reduce(0, +)
        guard fits, size >= Self.ethernetHeader, size <= FrameStream.frameLimit,
            let pages = try? grants.map(packet.references, for: .read)
        else { return false }
        let start = bytes.count
        let ranges = zip(packet.offsets, packet.sizes).enumerated().map { page, part in
            (page * pageSize + part.0)..<(page * pageSize + part.0 + part.1)
        }
        try pages.append(ranges, to: &bytes)
        guard packet.flags & Flags.checksumBlank != 0 else { return true }
        return PacketChecksum.complete(in: &bytes[start...])
    }
}
