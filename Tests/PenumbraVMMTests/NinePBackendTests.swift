// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// The guest's side of one of a share's rings, as Linux' driver has it, or worse.
private struct FrontRing9P {
    static let order: UInt32 = 2

    let driver: GuestDriver
    let page: GuestPhysical
    private let data: GuestPhysical
    private let size: UInt32 = 4096 << order / 2
    private var put: UInt32 = 0
    private var taken: UInt32 = 0

    /// Uses frame `frame` and the four behind it.
    init(_ driver: GuestDriver, frame: UInt32) throws {
        (self.driver, page) = (driver, GuestPhysical(frame: UInt64(frame)))
        data = GuestPhysical(frame: UInt64(frame + 1))
        for reference in frame...(frame + 4) { try driver.grant(reference) }
        try driver.ram.storeShared(Self.order, at: page + 128)
        for index in 0..<4 as Range<UInt32> {
            try driver.ram.storeShared(frame + 1 + index, at: page + 132 + UInt64(index) * 4)
        }
    }

    /// The first bytes of a message, or all.
    mutating func send(_ bytes: [UInt8]) throws {
        for (index, byte) in bytes.enumerated() {
            let offset = UInt64(size + (put &+ UInt32(index)) & (size - 1))
            try driver.ram.write([byte], at: data + offset)
        }
        put &+= UInt32(bytes.count)
        try driver.ram.storeShared(put, at: page + 68)
    }

    /// The answers that have come, each whole.
    mutating func receive() throws -> [[UInt8]] {
        let there = try driver.ram.loadShared(at: page + 4)
        var messages: [[UInt8]] = []
        while taken != there {
            let length = try bytes(4).number(at: 0, as: UInt32.self)!
            messages.append(try bytes(length))
            taken &+= length
        }
        try driver.ram.storeShared(taken, at: page)
        return messages
    }

    private func bytes(_ count: UInt32) throws -> [UInt8] {
        try (0..<count).map { try driver.ram.read(1, at: data + UInt64((taken &+ $0) & (size - 1)))[0] }
    }
}

@Suite struct NinePBackendTests {
    private static let frames: [UInt32] = [20, 40]

    private let driver: GuestDriver
    private let folder: TemporaryDirectory
    private let events: [Descriptor]
    private let told: Descriptor
    private let backend: NinePBackend
    private var guest: StoreClient
    private var rings: [FrontRing9P]

    init() throws {
        driver = try GuestDriver()
        folder = try TemporaryDirectory()
        try Files.write(Array("hello".utf8), to: folder.path + "/file")
        let (events, told) = (
            [try EventDescriptor.open(), try EventDescriptor.open()], try EventDescriptor.open()
        )
        (self.events, self.told) = (events, told)
        backend = try NinePBackend(
            SharedDirectory(VolumeShare(tag: "data", path: folder.path), fidLimit: 100), number: 0,
            grants: driver.grants
        ) { port in EventChannel(event: events[Int(port)], notifyGuest: { told.signalEvent() }) }
        var store = try StoreClient.domain()
        backend.nodes.create(in: &store)
        guest = StoreClient(store)
        let driver = driver
        rings = try Self.frames.map { try FrontRing9P(driver, frame: $0) }
    }

    private static let keys = [
        ("version", "1"), ("num-rings", "2"), ("ring-ref0", "20"), ("ring-ref1", "40"),
        ("event-channel-0", "0"), ("event-channel-1", "1"),
    ]

    /// What Linux' xen_9pfs_front_init leaves.
    private mutating func connect(_ keys: [(String, String)] = keys) throws -> String? {
        for (name, value) in keys {
            #expect(try guest.write("device/9pfs/0/\(name)", value).answer == "OK")
        }
        return try setState(3)
    }

    private mutating func setState(_ state: Int) throws -> String? {
        #expect(try guest.write("device/9pfs/0/state", String(state)).answer == "OK")
        let reason = backend.frontendChanged(in: &guest.store)
        try backend.finishLeaving(in: &guest.store)
        return reason
    }

    private func state() -> String? { guest.store.read(backend.nodes.backend / "state") }

    private mutating func send(_ message: NinePTestMessage, ring: Int) throws {
        try rings[ring].send(message.bytes)
        events[ring].signalEvent()
    }

    /// That many answers of a ring; the threads take the time they take.
    private mutating func answers(_ count: Int, ring: Int) throws -> [[UInt8]] {
        var answers = try rings[ring].receive()
        while answers.count < count {
            try #require(told.waitReadable(seconds: 60))
            told.takeEvent()
            answers += try rings[ring].receive()
        }
        try #require(answers.count == count)
        return answers
    }

    private mutating func attach() throws {
        try send(NinePTestMessage(.version, tag: .max).u32(8192).text("9P2000.L"), ring: 1)
        _ = try answers(1, ring: 1)
        try send(NinePTestMessage(.attach).u32(0, .max).text("").text("").u32(0), ring: 1)
        _ = try answers(1, ring: 1)
    }

    private func isInUse() throws -> Bool {
        try (20..<64 as Range<UInt32>).contains { try driver.isInUse($0) }
    }

    @Test mutating func theGuestFindsAndUsesItsShare() throws {
        #expect(guest.store.read(backend.nodes.frontend / "tag") == "data" && state() == "2")
        #expect(guest.store.read(backend.nodes.backend / "versions") == "1")
        #expect(try connect() == nil && state() == "4")
        try attach()
        try send(NinePTestMessage(.walk).u32(0, 1).u16(1).text("file"), ring: 0)
        _ = try answers(1, ring: 0)
        try send(NinePTestMessage(.lopen).u32(1, 0), ring: 0)
        _ = try answers(1, ring: 0)
        // Many times around both rings, some answers from threads that wait.
        for round in 0..<300 as Range<UInt16> {
            let ring = Int(round % 2)
            let read = NinePTestMessage(.read, tag: 2 * round).u32(1).u64(0).u32(100)
            let sync = NinePTestMessage(.fsync, tag: 2 * round + 1).u32(1, 0)
            try rings[ring].send(read.bytes + sync.bytes)
            events[ring].signalEvent()
            let found = try answers(2, ring: ring).sorted { $0[4] < $1[4] }
            #expect(found.map { $0[4] } == [51, 117] && found[1].suffix(5) == Array("hello".utf8)[...])
        }
        #expect(try setState(5) == nil && setState(6) == nil && state() == "6")
        #expect(try !backend.isConnected && !isInUse())
        // Another driver may come.
        #expect(try setState(1) == nil && state() == "2")
    }

    @Test mutating func answersWaitForRoomAndKeepWhole() throws {
        try Files.write((0..<200_000).map { UInt8(truncatingIfNeeded: $0 / 7) }, to: folder.path + "/long")
        #expect(try connect() == nil)
        try attach()
        try send(NinePTestMessage(.walk).u32(0, 1).u16(1).text("long"), ring: 0)
        _ = try answers(1, ring: 0)
        try send(NinePTestMessage(.lopen).u32(1, 0), ring: 0)
        _ = try answers(1, ring: 0)
        for tag in 0..<20 as Range<UInt16> {
            try rings[0].send(
                NinePTestMessage(.read, tag: tag).u32(1).u64(UInt64(tag) * 5000).u32(5000).bytes)
        }
        events[0].signalEvent()
        var found: [UInt16: [UInt8]] = [:]
        while found.count < 20 {
            for answer in try rings[0].receive() {
                found[answer.number(at: 5, as: UInt16.self)!] = Array(answer[11...])
            }
            events[0].signalEvent()
            _ = told.waitReadable(seconds: 0.1)
        }
        for (tag, bytes) in found {
            #expect(bytes == (0..<5000).map { UInt8(truncatingIfNeeded: (Int(tag) * 5000 + $0) / 7) })
        }
    }

    @Test mutating func aFlushIsAnsweredLast() throws {
        #expect(try connect() == nil)
        try attach()
        // Of nothing; of itself; and of a request in the other ring that was not taken before.
        try send(NinePTestMessage(.flush, tag: 5).u16(77), ring: 0)
        #expect(try answers(1, ring: 0)[0][4...] == [109, 5, 0])
        for round in 0..<200 as Range<UInt16> {
            try rings[1].send(NinePTestMessage(.fsync, tag: 8).u32(0, 0).bytes)
            try send(NinePTestMessage(.flush, tag: 9).u16(8), ring: 0)
            events[1].signalEvent()
            #expect(try answers(1, ring: 0)[0][4...] == [109, 9, 0])
            // Answered before the flush, or never: the tag is free, whatever is asked with it next.
            let early = try rings[1].receive().count
            #expect(early <= 1)
            try send(NinePTestMessage(.clunk, tag: 8).u32(UInt32(1000 + round)), ring: 1)
            #expect(try answers(1, ring: 1)[0][4] == 7)
        }
        #expect(backend.failure == nil)
    }

    @Test(arguments: [
        [("version", "2")], [("version", "")], [("num-rings", "0")], [("num-rings", "5")],
        [("ring-ref1", "41x")], [("ring-ref0", "99")], [("event-channel-1", "")],
    ])
    mutating func nonsenseClosesTheShare(_ keys: [(String, String)]) throws {
        let reason = try connect(Self.keys.filter { key in !keys.contains { $0.0 == key.0 } } + keys)
        #expect(reason?.hasPrefix("share data: ") == true)
        #expect(try state() == "6" && !backend.isConnected && !isInUse())
    }

    @Test(arguments: [UInt32(0), 1, 10, .max]) mutating func rangesOfRingsAreChecked(_ order: UInt32) throws {
        try driver.ram.storeShared(order, at: rings[0].page + 128)
        #expect(try connect()?.contains("2^\(order) pages") == true)
        #expect(try !isInUse())
    }

    /// Bytes for a ring, or a number that the guest claims to have put in or taken.
    enum Attack: Sendable {
        case bytes([UInt8])
        case put(UInt32)
        case taken(UInt32)
    }

    @Test(
        arguments: [
            (Attack.bytes([3, 0, 0, 0, 100, 0, 0]), "a message has 3 bytes"),
            (.bytes([0xff, 0xff, 0xff, 0xff, 100, 0, 0]), "a message has 4294967295 bytes"),
            (.bytes([1, 0x20, 0, 0, 100, 0, 0]), "a message has 8193 bytes"),
            (.put(8193), "has 8193 bytes in it"), (.put(.max), "has 4294967295 bytes in it"),
            (.taken(5), "has 4294967291 bytes in it"),
            (
                .bytes(
                    NinePTestMessage(.fsync, tag: 3).u32(0, 0).bytes
                        + NinePTestMessage(.fsync, tag: 3).u32(0, 0).bytes),
                nil
            ),
        ] as [(Attack, String?)])
    mutating func aGuestThatBreaksItsRingLosesItsShare(_ attack: Attack, _ reason: String?) throws {
        #expect(try connect() == nil)
        switch attack {
        case .bytes(let bytes): try rings[0].send(bytes)
        case .put(let number): try driver.ram.storeShared(number, at: rings[0].page + 68)
        case .taken(let number):
            try driver.ram.storeShared(number, at: rings[0].page)
            try rings[0].send(NinePTestMessage(.clunk).u32(1).bytes)
        }
        events[0].signalEvent()
        guard let reason else {
            // Two requests of one tag: if the first is not done when the second is taken.
            events[0].signalEvent()
            _ = backend.disconnect()
            try backend.finishLeaving(in: &guest.store)
            return #expect(try !isInUse())
        }
        try #require(backend.changed!.waitReadable(seconds: 60))
        #expect(backend.attend(in: &guest.store)?.contains(reason) == true)
        try backend.finishLeaving(in: &guest.store)
        #expect(try state() == "6" && !isInUse())
    }

    /// Messages cut anywhere, of random bytes, with numbers that change: the share serves on, or is closed.
    @Test(arguments: 1...8 as ClosedRange<UInt64>) mutating func randomRingsDoNoHarm(_ seed: UInt64) throws {
        var random = SeededNumbers(seed)
        #expect(try connect() == nil)
        try attach()
        for _ in 0..<500 {
            let ring = Int(random.next(below: 2))
            let length = 7 + random.next(below: 40)
            var bytes = UInt32(length).littleEndianBytes
            while bytes.count < length { bytes.append(UInt8(random.next(below: 130))) }
            try rings[ring].send(bytes)
            events[ring].signalEvent()
            if random.next(below: 2) == 0 { for index in rings.indices { _ = try? rings[index].receive() } }
            if random.next(below: 300) == 0 {
                try driver.ram.storeShared(UInt32(random.next(below: 10000)), at: rings[ring].page + 68)
            }
        }
        _ = backend.disconnect()
        try backend.finishLeaving(in: &guest.store)
        #expect(try !isInUse())
    }
}
