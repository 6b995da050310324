// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraVMM

/// The guest's end of a page with rings.
private struct Page {
    static let frame: UInt64 = 1
    let memory: GuestMemory

    init() throws { memory = try GuestMemory(size: 3 << 12) }

    func address(_ offset: UInt64) -> GuestPhysical { GuestPhysical(frame: Self.frame) + offset }
    func get(_ offset: UInt64) throws -> UInt32 { try memory.loadShared(at: address(offset)) }
    func set(_ offset: UInt64, _ value: UInt32) throws { try memory.storeShared(value, at: address(offset)) }

    /// Puts what fits into a ring as the guest does; says how much that was.
    func put(_ bytes: [UInt8], ring: UInt64, size: UInt32, consumed: UInt64, produced: UInt64) throws -> Int {
        var index = try get(produced)
        var count = 0
        while count < bytes.count, try index &- get(consumed) < size {
            try memory.write([bytes[count]], at: address(ring + UInt64(index & (size - 1))))
            (index, count) = (index &+ 1, count + 1)
        }
        try set(produced, index)
        return count
    }

    /// Takes at most `limit` bytes out of one.
    func take(ring: UInt64, size: UInt32, consumed: UInt64, produced: UInt64, limit: Int = .max) throws
        -> [UInt8]
    {
        var index = try get(consumed)
        var bytes: [UInt8] = []
        while try index != get(produced), bytes.count < limit {
            bytes += try memory.read(1, at: address(ring + UInt64(index & (size - 1))))
            index &+= 1
        }
        try set(consumed, index)
        return bytes
    }
}

@Suite struct XenStoreRingTests {
    private let page: Page
    private var ring: XenStoreRing

    init() throws {
        page = try Page()
        ring = XenStoreRing(memory: page.memory, frame: Page.frame, store: try StoreClient.domain())
    }

    private func send(_ bytes: [UInt8]) throws -> Int {
        try page.put(bytes, ring: 0, size: 1024, consumed: 0x800, produced: 0x804)
    }

    private func receive(limit: Int = .max) throws -> [UInt8] {
        try page.take(ring: 0x400, size: 1024, consumed: 0x808, produced: 0x80c, limit: limit)
    }

    private static func request(_ kind: XenStoreMessage.Kind, _ path: String) -> [UInt8] {
        XenStoreMessage(
            type: kind.rawValue, request: 9, transaction: 0, payload: Array(path.utf8) + [0]
        ).bytes
    }

    private static let question = request(.read, "name")
    private static let answer = XenStoreMessage(
        type: 2, request: 9, transaction: 0, payload: Array("test".utf8)
    ).bytes

    @Test mutating func anIdleRingIsLeftAlone() throws {
        #expect(try ring.pump() == .init())
        #expect(try page.memory.read(4096, at: page.address(0)).allSatisfy { $0 == 0 })
    }

    @Test mutating func aRequestIsAnswered() throws {
        _ = try send(Self.question)
        #expect(try ring.pump() == .init(notify: true))
        #expect(try receive() == Self.answer)
        #expect(try page.get(0x800) == page.get(0x804))
        #expect(try ring.pump() == .init())
    }

    @Test mutating func requestsMayBeSplitAtAnyByte() throws {
        for split in 0...Self.question.count {
            _ = try send(Array(Self.question.prefix(split)))
            #expect(try ring.pump().notify == (split > 0))
            #expect(try receive() == (split == Self.question.count ? Self.answer : []))
            _ = try send(Array(Self.question.dropFirst(split)))
            _ = try ring.pump()
            #expect(try receive() == (split == Self.question.count ? [] : Self.answer))
        }
    }

    @Test mutating func answersWaitForRoomByteByByte() throws {
        let big = XenStoreMessage(
            type: 11, request: 1, transaction: 0,
            payload: Array("data/v\0".utf8) + [UInt8](repeating: 7, count: 2048)
        ).bytes
        var unsent = big[...]
        while !unsent.isEmpty {
            unsent = unsent.dropFirst(try send(Array(unsent)))
            _ = try ring.pump()
        }
        _ = try receive()
        _ = try send(Self.request(.read, "data/v") + Self.question)
        var received: [UInt8] = []
        while try ring.pump().notify { received += try receive(limit: 100) }
        received += try receive()
        #expect(received.count == 16 + 2048 + Self.answer.count)
        #expect(received.suffix(Self.answer.count) == Self.answer[...])
    }

    /// A guest that asks and never reads costs one answer.
    @Test mutating func requestsWaitForTheAnswersBefore() throws {
        while try send(Self.question) == Self.question.count { _ = try ring.pump() }
        #expect(try !ring.pump().notify)
        #expect(try page.get(0x80c) &- page.get(0x808) == 1024)
    }

    @Test mutating func indicesMayWrapAround() throws {
        for offset in [UInt64(0x800), 0x804, 0x808, 0x80c] { try page.set(offset, .max - 10) }
        for _ in 0..<100 {
            _ = try send(Self.question)
            _ = try ring.pump()
            #expect(try receive() == Self.answer)
        }
    }

    @Test(arguments: [(UInt64(0x804), UInt32(1025)), (0x804, .max), (0x800, 1), (0x80c, 1025), (0x808, 1)])
    mutating func impossibleIndicesEndTheService(_ offset: UInt64, _ value: UInt32) throws {
        try page.set(offset, value)
        if offset >= 0x808 { _ = try send(Self.question) }
        #expect(try ring.pump() == .init(notify: true))
        #expect(try page.get(0x818) == 2)
        for offset in [UInt64(0x800), 0x804, 0x808, 0x80c] { try page.set(offset, 0) }
        _ = try send(Self.question)
        #expect(try ring.pump() == .init())
    }

    @Test mutating func messagesOfImpossibleLengthEndTheService() throws {
        _ = try send(Array(Self.question.prefix(12)) + UInt32(4097).littleEndianBytes)
        #expect(try ring.pump() == .init(notify: true))
        #expect(try page.get(0x818) == 3)
    }

    /// Whatever a guest writes, the service neither traps nor stays at it.
    @Test mutating func randomPagesAreSurvived() throws {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<3000 {
            var ring = XenStoreRing(memory: page.memory, frame: Page.frame, store: try StoreClient.domain())
            let noise = (0..<2048).map { _ in
                Bool.random(using: &generator) ? UInt8.random(in: 0...255, using: &generator) : 0
            }
            try page.memory.write(noise[...], at: page.address(0))
            for offset in [UInt64(0x800), 0x804, 0x808, 0x80c] {
                try page.set(offset, UInt32.random(in: 0...1500, using: &generator))
            }
            for _ in 0..<4 where try ring.pump().unfinished { _ = try receive() }
        }
    }

    /// A guest that keeps the ring busy gets its share of a turn, and the rest in the next.
    @Test mutating func oneTurnIsBounded() throws {
        let request = XenStoreMessage(type: 99, request: 0, transaction: 0, payload: []).bytes
        let answerSize = request.count + "ENOSYS".utf8.count + 1
        _ = try send((0..<64).flatMap { _ in request })
        var answers = try ring.pump() == .init(notify: true, unfinished: true) ? try receive().count : 0
        #expect((1..<(64 * answerSize)).contains(answers))
        while try ring.pump().notify { answers += try receive().count }
        #expect(answers == 64 * answerSize)
    }
}

@Suite struct ConsoleRingTests {
    private let page: Page
    private let ring: ConsoleRing

    init() throws {
        page = try Page()
        ring = ConsoleRing(memory: page.memory, frame: Page.frame)
    }

    private func write(_ bytes: [UInt8]) throws -> Int {
        try page.put(bytes, ring: 0x400, size: 2048, consumed: 0xc08, produced: 0xc0c)
    }

    private func read() throws -> [UInt8] {
        try page.take(ring: 0, size: 1024, consumed: 0xc00, produced: 0xc04)
    }

    @Test func outputIsTakenInOrderAndMakesRoom() throws {
        try page.set(0xc08, .max - 100)
        try page.set(0xc0c, .max - 100)
        let text = (0..<10_000).map { UInt8(truncatingIfNeeded: $0) }
        var (sent, received) = (0, [UInt8]())
        while sent < text.count {
            sent += try write(Array(text[sent...]))
            received += try ring.takeOutput()
        }
        #expect(received == text)
        #expect(try ring.takeOutput() == [])
    }

    @Test func inputGoesInAsFarAsThereIsRoom() throws {
        let text = (0..<1500).map { UInt8(truncatingIfNeeded: $0) }
        #expect(try ring.put(text) == 1024)
        #expect(try ring.put(text) == 0)
        #expect(try read() == Array(text.prefix(1024)))
        #expect(try ring.put(Array(text.dropFirst(1024))) == 476)
        #expect(try read() == Array(text.dropFirst(1024)))
    }

    @Test(arguments: [UInt32(2049), .max]) func impossibleIndicesAreNoticed(_ produced: UInt32) throws {
        try page.set(0xc0c, produced)
        #expect(throws: SharedRing.BadIndices(produced: produced, consumed: 0)) { try ring.takeOutput() }
        try page.set(0xc00, 5)
        #expect(throws: SharedRing.BadIndices(produced: 0, consumed: 5)) { try ring.put([1]) }
    }
}
