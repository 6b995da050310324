// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraVMM

@Suite struct BackRingTests {
    private let driver: GuestDriver
    private var front: FrontRing
    private var back: BackRing

    init() throws {
        driver = try GuestDriver()
        front = try FrontRing(driver, frame: 20, slotSize: 28, slots: 32)
        back = BackRing(try driver.grants.map(20, for: .readAndWrite), slotSize: 28)
    }

    private func request(_ number: UInt32) -> [UInt32] { (0..<28).map { number &* 1000 &+ $0 } }

    /// Bytes of a ring's pages and words of a slot, and slots: blkif.h, netif.h.
    @Test(arguments: [(4096, 28, 32), (8192, 28, 64), (65536, 28, 512), (4096, 3, 256), (4096, 2, 256)])
    func slotsAreAPowerOfTwo(_ size: Int, _ slotSize: Int, _ slots: UInt32) {
        #expect(BackRing.slots(in: size, slotSize: slotSize) == slots)
    }

    @Test mutating func requestsComeInOrderAndAnswersGoBack() throws {
        for round in 0..<100 as Range<UInt32> {
            for index in 0..<32 as Range<UInt32> { try front.put(request(round * 32 + index)) }
            for index in 0..<32 as Range<UInt32> {
                #expect(try back.take() == request(round * 32 + index))
            }
            #expect(try back.take() == nil && back.unanswered == 32)
            for index in 0..<32 as Range<UInt32> { try back.answer([round, index]) }
            let isAwaited = try back.publish()
            #expect(isAwaited)
            #expect(
                try front.take().map { Array($0.prefix(2)) } == (0..<32 as Range<UInt32>).map { [round, $0] })
        }
    }

    @Test mutating func answersAreSeenWhenTheyArePublished() throws {
        try front.put(request(1))
        _ = try back.take()
        try back.answer([7])
        #expect(try front.take().isEmpty)
        _ = try back.publish()
        #expect(try front.take().map(\.first) == [7])
    }

    /// ring.h, RING_PUSH_RESPONSES_AND_CHECK_NOTIFY.
    @Test mutating func anEventIsSentOnlyWhereTheGuestWantsIt() throws {
        for number in 1...3 as ClosedRange<UInt32> { try front.put(request(number)) }
        for _ in 0..<3 { _ = try back.take() }
        // The guest wants one at the second response.
        try driver.ram.storeShared(2, at: front.page + 12)
        var awaited: [Bool] = []
        for _ in 0..<3 {
            try back.answer([0])
            awaited.append(try back.publish())
        }
        #expect(awaited == [false, true, false])
    }

    @Test mutating func aRequestAtTheLastMomentIsSeen() throws {
        #expect(try !back.awaitRequests())
        let wantsEvent = try front.put(request(1))
        #expect(wantsEvent)
        #expect(try back.awaitRequests())
    }

    /// More requests than there are slots, fewer than were taken, both also across the wrap.
    @Test(arguments: [33, 1 << 31, .max] as [UInt32])
    mutating func impossibleNumbersAreRefused(_ produced: UInt32) throws {
        try front.claim(produced: produced)
        #expect(throws: BackRing.TooManyRequests(produced: produced, answered: 0, slots: 32)) {
            try back.take()
        }
    }

    @Test mutating func requestsCannotBeTakenBack() throws {
        for number in 0..<3 as Range<UInt32> { try front.put(request(number)) }
        for _ in 0..<3 { _ = try back.take() }
        try front.claim(produced: 2)
        #expect(throws: BackRing.TooManyRequests.self) { try back.take() }
    }

    /// A ring over several pages that are not consecutive: slots may lie across two of them.
    @Test mutating func ringsOfSeveralPagesWork() throws {
        for (reference, frame) in [(30, 40), (31, 39), (32, 60), (33, 61)] as [(UInt32, UInt64)] {
            try driver.grant(reference, frame: frame)
        }
        let pages = try driver.grants.map([30, 31, 32, 33], for: .readAndWrite)
        var ring = BackRing(pages, slotSize: 28)
        #expect(ring.slots == 128)
        for index in 0..<128 as Range<UInt32> {
            try pages.write(request(index), at: 64 + Int(index) * 112)
        }
        try driver.ram.storeShared(128, at: GuestPhysical(frame: 40))
        for index in 0..<128 as Range<UInt32> { #expect(try ring.take() == request(index)) }
    }
}
