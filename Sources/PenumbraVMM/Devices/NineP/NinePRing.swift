// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// The host's side of one of a share's rings (Xen's docs/misc/9pfs.pandoc, struct xen_9pfs_data_intf). A
/// page of the guest's has free-running numbers of bytes, and says which pages hold the two rings of bytes
/// themselves, one behind the other:
///
///      0  answers: taken out, by the guest      64  requests: taken out, by the host
///      4  answers: put in, by the host          68  requests: put in, by the guest
///    128  the rings have 2^this pages together  132  grants of the pages
///
/// The guest can write anything at any time: its numbers are checked at each use, and a message is
/// copied out, once, before anybody looks at it. What the host put in and took out it knows itself.
struct NinePRing {
    enum Problem: Error, Equatable, CustomStringConvertible {
        case badOrder(UInt32)
        case badNumbers(used: UInt32, size: UInt32)
        case badMessageSize(UInt32, limit: UInt32)

        var description: String {
            switch self {
            case .badOrder(let order):
                "the guest's driver wants a ring of 2^\(order) pages: 2^\(orders.lowerBound) to "
                    + "2^\(orders.upperBound) are possible"
            case .badNumbers(let used, let size): "the ring of \(size) bytes has \(used) bytes in it"
            case .badMessageSize(let size, let limit):
                "a message has \(size) bytes: \(NinePMessage.headerSize) to \(limit) are possible"
            }
        }
    }

    /// From two messages of the smallest size in each direction on to what Linux takes at most.
    static let orders: ClosedRange<UInt32> = 2...9

    private enum Field {
        static let answersTaken = 0
        static let answers = 4
        static let requestsTaken = 64
        static let requests = 68
        static let order = 128
        static let references = 132
    }

    private let page: GrantMapping
    private let data: GrantMapping
    /// Of each ring, a power of two; also what the largest message can have.
    let size: UInt32
    private var taken: UInt32 = 0
    private var put: UInt32 = 0
    /// Answers that the guest has no room for yet.
    private var waiting: [[UInt8]] = []

    /// Takes up a ring that the guest has described at `reference`.
    init(_ reference: UInt32, of grants: GrantTable) throws {
        page = try grants.map(reference, for: .readAndWrite)
        let order = try page.loadShared(at: Field.order)
        guard Self.orders.contains(order) else { throw Problem.badOrder(order) }
        data = try grants.map(page.words(1 << Int(order), at: Field.references), for: .readAndWrite)
        size = UInt32(PENUMBRA_PAGE_SIZE) << order / 2
    }

    // MARK: Requests

    /// How far the guest is, and how much of that is to be taken.
    private func requests() throws -> (put: UInt32, used: UInt32) {
        let put = try page.loadShared(at: Field.requests)
        guard put &- taken <= size else { throw Problem.badNumbers(used: put &- taken, size: size) }
        return (put, put &- taken)
    }

    /// Where the guest is with its requests; see `hasTaken`.
    func requestsPut() throws -> UInt32 { try requests().put }

    /// Whether everything was taken that was there when `requestsPut` was `position`.
    func hasTaken(_ position: UInt32) -> Bool { Int32(bitPattern: taken &- position) >= 0 }

    /// A copy of the next message; nil: there is no whole one. Says as well whether the guest may be
    /// waiting for the room.
    mutating func take() throws -> (message: NinePMessage, wasCrowded: Bool)? {
        let used = try requests().used
        guard used >= UInt32(NinePMessage.headerSize) else { return nil }
        let length = try bytes(4, from: taken).number(at: 0, as: UInt32.self)!
        guard length >= UInt32(NinePMessage.headerSize), length <= size else {
            throw Problem.badMessageSize(length, limit: size)
        }
        guard length <= used else { return nil }
        var message = try bytes(length, from: taken)
        // The guest may have written another size meanwhile; the one that was checked holds.
        message.replaceSubrange(0..<4, with: length.littleEndianBytes)
        taken &+= length
        try page.storeShared(taken, at: Field.requestsTaken)
        return (NinePMessage(message), used > size / 2)
    }

    private func bytes(_ count: UInt32, from position: UInt32) throws -> [UInt8] {
        let start = Int(size) + Int(position & (size - 1))
        let end = min(start + Int(count), 2 * Int(size))
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(count))
        try data.append([start..<end, Int(size)..<(Int(size) + Int(count) - (end - start))], to: &bytes)
        return bytes
    }

    // MARK: Answers

    /// Whether the guest has all answers.
    var isDelivered: Bool { waiting.isEmpty }

    /// Gives an answer to the guest as soon as there is room; says whether there was.
    mutating func answer(_ message: [UInt8]) throws -> Bool {
        precondition(message.count <= Int(size))
        waiting.append(message)
        return try deliver()
    }

    /// Gives the guest the answers that there is room for, each whole; says whether that was any.
    mutating func deliver() throws -> Bool {
        var delivered = 0
        for message in waiting {
            let used = put &- (try page.loadShared(at: Field.answersTaken))
            guard used <= size else { throw Problem.badNumbers(used: used, size: size) }
            guard message.count <= Int(size - used) else { break }
            try write(message)
            put &+= UInt32(message.count)
            delivered += 1
        }
        guard delivered > 0 else { return false }
        waiting.removeFirst(delivered)
        try page.storeShared(put, at: Field.answers)
        return true
    }

    private func write(_ message: [UInt8]) throws {
        let start = Int(put & (size - 1))
        let first = min(message.count, Int(size) - start)
        try data.write(message[..<first], at: start)
        if first < message.count { try data.write(message[first...], at: 0) }
    }
}
