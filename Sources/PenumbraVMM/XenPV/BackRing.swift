// SPDX-License-Identifier: Apache-2.0

/// The host's side of a ring of requests and responses (Xen's public/io/ring.h). Its first 64 bytes
/// hold four free-running numbers of 32 bits, then come the slots, as many as a power of two:
///
///     0  requests put in, by the guest            4  the host wants an event at this request
///     8  responses put in, by the host           12  the guest wants an event at this response
///
/// A response takes the slot of a request that was taken out before, not necessarily of its own. The
/// guest can write anything at any time: its numbers are checked at each use, and a request is copied
/// out, once, before anybody looks at it.
struct BackRing {
    struct TooManyRequests: Error, Equatable, CustomStringConvertible {
        let produced, answered, slots: UInt32

        var description: String {
            "the ring of \(slots) slots has \(produced &- answered) requests in it"
        }
    }

    private enum Field {
        static let requests = 0
        static let requestEvent = 4
        static let responses = 8
        static let responseEvent = 12
        static let slots = 64
    }

    private let page: GrantMapping
    /// In 32-bit words.
    private let slotSize: Int
    let slots: UInt32
    /// Free-running as well: taken out, answered, answered where the guest can see it.
    private var consumed: UInt32 = 0
    private var answered: UInt32 = 0
    private var published: UInt32 = 0

    /// `slotSize` in 32-bit words; the guest has initialised the page.
    init(_ page: GrantMapping, slotSize: Int) {
        (self.page, self.slotSize) = (page, slotSize)
        slots = Self.slots(in: page.size, slotSize: slotSize)
    }

    /// The largest power of two that there is room for.
    static func slots(in size: Int, slotSize: Int) -> UInt32 {
        let room = (size - Field.slots) / (slotSize * 4)
        return 1 << UInt32(room.bitWidth - 1 - room.leadingZeroBitCount)
    }

    /// Requests that were taken out and have no answer yet.
    var unanswered: UInt32 { consumed &- answered }

    /// A copy of the next request; nil: there is none.
    mutating func take() throws -> [UInt32]? {
        guard try available() > 0 else { return nil }
        defer { consumed &+= 1 }
        return try page.words(slotSize, at: offset(of: consumed))
    }

    /// How many requests are there to be taken.
    func available() throws -> UInt32 {
        let produced = try page.loadShared(at: Field.requests)
        guard produced &- answered <= slots, produced &- answered >= unanswered else {
            throw TooManyRequests(produced: produced, answered: answered, slots: slots)
        }
        return produced &- consumed
    }

    /// Asks for an event when there will be `count` requests; says whether they are there already.
    func awaitRequests(_ count: UInt32 = 1) throws -> Bool {
        try page.storeShared(consumed &+ count, at: Field.requestEvent)
        // After the store, in the order that both sides see: else the guest's last look at the number
        // and ours at the requests could both come too early.
        return try available() >= count
    }

    /// Answers one of the requests that were taken; the guest sees it after `publish`.
    mutating func answer(_ response: [UInt32]) throws {
        precondition(unanswered > 0 && response.count <= slotSize)
        try page.write(response, at: offset(of: answered))
        answered &+= 1
    }

    /// Shows the guest all answers; says whether it wants an event for them.
    mutating func publish() throws -> Bool {
        let old = published
        published = answered
        try page.storeShared(answered, at: Field.responses)
        let event = try page.loadShared(at: Field.responseEvent)
        return answered &- event < answered &- old
    }

    private func offset(of index: UInt32) -> Int {
        Field.slots + Int(index & (slots - 1)) * slotSize * 4
    }
}
