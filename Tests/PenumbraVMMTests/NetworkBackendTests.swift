// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraVMM

@Suite struct NetworkBackendTests {
    private static let (transmit, receive): (UInt32, UInt32) = (20, 21)

    private let driver: GuestDriver
    private let event: Descriptor
    private let told: Descriptor
    private let peer: Descriptor
    private let backend: NetworkBackend
    private var guest: StoreClient

    init() throws {
        driver = try GuestDriver()
        let (event, told) = (try EventDescriptor.open(), try EventDescriptor.open())
        let (ours, its) = try LocalSocket.pair()
        (self.event, self.told, peer) = (event, told, its)
        backend = try NetworkBackend(NetworkSettings(peer: ours), grants: driver.grants) { _ in
            EventChannel(event: event, notifyGuest: { told.signalEvent() })
        }
        var store = try StoreClient.domain()
        backend.nodes.create(in: &store)
        guest = StoreClient(store)
    }

    private struct Rings {
        var transmit: FrontRing
        var receive: FrontRing
    }

    private func rings() throws -> Rings {
        Rings(
            transmit: try FrontRing(driver, frame: Self.transmit, slotSize: 3, slots: 256),
            receive: try FrontRing(driver, frame: Self.receive, slotSize: 2, slots: 256))
    }

    private mutating func setState(_ state: Int) throws -> String? {
        #expect(try guest.write("device/vif/0/state", String(state)).answer == "OK")
        return backend.frontendChanged(in: &guest.store)
    }

    /// What Linux' talk_to_netback leaves.
    private mutating func connect(_ keys: [(String, String)]? = nil) throws -> String? {
        for (name, value) in keys ?? [
            ("tx-ring-ref", "20"), ("rx-ring-ref", "21"), ("event-channel", "9"), ("request-rx-copy", "1"),
        ] {
            #expect(try guest.write("device/vif/0/\(name)", value).answer == "OK")
        }
        return try setState(4)
    }

    private var state: String? { guest.store.read(backend.nodes.backend / "state") }

    /// The next frame that reaches the network's other end.
    private func sent() throws -> [UInt8] {
        func bytes(_ count: Int) throws -> [UInt8] {
            var bytes: [UInt8] = []
            while bytes.count < count {
                try #require(peer.waitReadable(seconds: 60))
                bytes += try peer.read(atMost: count - bytes.count) ?? []
            }
            return bytes
        }
        return try bytes(try bytes(4).reduce(0) { $0 << 8 | Int($1) })
    }

    private func answers(_ count: Int, from ring: inout FrontRing) throws -> [[UInt32]] {
        var answers = try ring.take()
        while answers.count < count {
            try #require(told.waitReadable(seconds: 60))
            told.takeEvent()
            answers += try ring.take()
        }
        return answers
    }

    private static func request(
        _ reference: UInt32, offset: UInt32 = 0, size: UInt32, flags: UInt32 = 0, identifier: UInt32
    ) -> [UInt32] {
        [reference, offset | flags << 16, identifier | size << 16]
    }

    // MARK: The guest sends

    @Test mutating func aPacketOfPiecesArrivesWhole() throws {
        var rings = try rings()
        #expect(try connect() == nil && state == "4")
        let frame = (0..<7000).map { UInt8(truncatingIfNeeded: $0 &* 13) }
        for reference in 10..<13 as Range<UInt32> { try driver.grant(reference, .read) }
        try driver.ram.write(frame[0..<100], at: GuestPhysical(frame: 10) + 1000)
        try driver.ram.write(frame[100..<4196], at: GuestPhysical(frame: 11))
        try driver.ram.write(frame[4196..<7000], at: GuestPhysical(frame: 12) + 8)
        try rings.transmit.put(Self.request(10, offset: 1000, size: 7000, flags: 4 | 8, identifier: 1))
        try rings.transmit.put([1 | 1448 << 16, 1, 0])
        try rings.transmit.put(Self.request(11, size: 4096, flags: 4, identifier: 2))
        try rings.transmit.put(Self.request(12, offset: 8, size: 2804, identifier: 3))
        event.signalEvent()
        #expect(try sent() == frame)
        let answers = try answers(4, from: &rings.transmit)
        #expect(answers.map { $0[0] } == [1, 1 << 16, 2, 3])
        #expect(try (10..<13 as Range<UInt32>).allSatisfy { try !driver.isInUse($0) })
    }

    @Test mutating func checksumsThatWereLeftBlankAreCompleted() throws {
        var rings = try rings()
        #expect(try connect() == nil)
        let frame = Packets.ethernet([8, 0], Packets.ipv4(6, Packets.tcp([1, 2, 3])))
        try driver.grant(10, .read)
        try driver.ram.write(frame[...], at: GuestPhysical(frame: 10))
        for flags in [0, 1] as [UInt32] {
            try rings.transmit.put(Self.request(10, size: UInt32(frame.count), flags: flags, identifier: 1))
            event.signalEvent()
            #expect(try Packets.isRight(sent()[34...], 6) == (flags == 1))
        }
    }

    /// Too short, beyond the page, pieces that are more than the whole, no grant, a checksum of nothing:
    /// an error each, and what comes behind arrives.
    @Test mutating func badPacketsAreAnsweredWithErrors() throws {
        var rings = try rings()
        #expect(try connect() == nil)
        try driver.grant(10, .read)
        let bad = [
            [Self.request(10, size: 13, identifier: 1)],
            [Self.request(10, offset: 4090, size: 60, identifier: 1)],
            [Self.request(10, size: 5000, identifier: 1)], [Self.request(11, size: 60, identifier: 1)],
            [Self.request(99999, size: 60, identifier: 1)],
            [Self.request(10, size: 60, flags: 1, identifier: 1)],
            [
                Self.request(10, size: 60, flags: 4, identifier: 1),
                Self.request(10, size: 61, identifier: 1),
            ],
        ]
        for request in bad.joined() { try rings.transmit.put(request) }
        try rings.transmit.put(Self.request(10, size: 60, identifier: 7))
        event.signalEvent()
        #expect(try sent().count == 60)
        let answers = try answers(9, from: &rings.transmit).map { $0[0] }
        #expect(answers == [UInt32](repeating: 0xffff_0001, count: 8) + [7])
    }

    @Test mutating func packetsThatDoNotEndCloseTheInterface() throws {
        for requests in [
            [Self.request(10, size: 100, flags: 4, identifier: 1)],
            [Self.request(10, size: 100, flags: 8, identifier: 1)],
            [Self.request(10, size: 100, flags: 8, identifier: 1)]
                + Array(repeating: [0x100, 0, 0], count: 9),
            Array(repeating: Self.request(10, size: 100, flags: 4, identifier: 1), count: 40),
        ] {
            var rings = try rings()
            #expect(try setState(1) == nil && connect() == nil)
            for request in requests { try rings.transmit.put(request) }
            event.signalEvent()
            try #require(backend.changed!.waitReadable(seconds: 60))
            backend.changed!.takeEvent()
            #expect(backend.attend(in: &guest.store)?.hasPrefix("network: the guest's driver") == true)
            #expect(state == "6" && !backend.isConnected)
        }
    }

    // MARK: The guest receives

    private func deliver(_ frame: [UInt8]) throws {
        try peer.write(Packets.number(frame.count >> 16) + Packets.number(frame.count & 0xffff) + frame)
    }

    @Test mutating func framesFillAsManyPagesAsTheyNeed() throws {
        var rings = try rings()
        #expect(try connect() == nil)
        let frame = (0..<9000).map { UInt8(truncatingIfNeeded: $0 &* 11) }
        try deliver(frame)
        try deliver([UInt8](repeating: 3, count: 60))
        // Room for a part of it is no room.
        for reference in 30..<32 as Range<UInt32> {
            try driver.grant(reference)
            try rings.receive.put([reference + 100, reference])
        }
        event.signalEvent()
        #expect(!told.waitReadable(seconds: 0.2))
        for reference in 32..<34 as Range<UInt32> {
            try driver.grant(reference)
            try rings.receive.put([reference + 100, reference])
        }
        event.signalEvent()
        let answers = try answers(4, from: &rings.receive)
        #expect(answers.map { $0[0] } == [130, 131, 132, 133])
        #expect(answers.map { $0[1] >> 16 } == [4096, 4096, 808, 60])
        #expect(answers.map { $0[1] & 0xffff } == [1 | 4, 1 | 4, 1, 1])
        let pages = try (30..<33).flatMap { try driver.bytes(frame: $0) }
        #expect(Array(pages.prefix(9000)) == frame)
    }

    @Test mutating func pagesThatWereNotGrantedLoseTheirPart() throws {
        var rings = try rings()
        #expect(try connect() == nil)
        try driver.grant(30, .read)
        try rings.receive.put([1, 30])
        try driver.grant(31)
        try rings.receive.put([2, 31])
        for _ in 0..<2 { try deliver([UInt8](repeating: 3, count: 60)) }
        event.signalEvent()
        #expect(try answers(2, from: &rings.receive).map { $0[1] >> 16 } == [0xffff, 60])
    }

    // MARK: Ends

    @Test(arguments: ["tx-ring-ref", "rx-ring-ref", "event-channel", "request-rx-copy"])
    mutating func aDriverThatLeavesTooLittleIsRefused(_ missing: String) throws {
        _ = try rings()
        let keys = [
            ("tx-ring-ref", "20"), ("rx-ring-ref", "21"), ("event-channel", "9"), ("request-rx-copy", "1"),
        ]
        #expect(try connect(keys.filter { $0.0 != missing })?.hasPrefix("network: ") == true)
        #expect(state == "6")
        #expect(try !driver.isInUse(Self.transmit) && !driver.isInUse(Self.receive))
    }

    /// What was read of a frame when one driver went is there for the next.
    @Test mutating func theCableOutlivesADriver() throws {
        var first = try rings()
        #expect(try connect() == nil)
        try peer.write([0, 0, 0, 60] + [UInt8](repeating: 8, count: 30))
        try driver.grant(10, .read)
        try first.transmit.put(Self.request(10, size: 60, identifier: 1))
        event.signalEvent()
        _ = try sent()
        #expect(try setState(6) == nil && state == "6")
        var second = try rings()
        #expect(try setState(1) == nil && connect() == nil && state == "4")
        try driver.grant(30)
        try second.receive.put([1, 30])
        try peer.write([UInt8](repeating: 8, count: 30))
        #expect(try answers(1, from: &second.receive).map { $0[1] >> 16 } == [60])
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>) mutating func randomRingsDoNoHarm(_ seed: UInt64) throws {
        var random = SeededNumbers(seed)
        var rings = try rings()
        #expect(try connect() == nil)
        peer.setNonblocking()
        for reference in 10..<20 as Range<UInt32> { try driver.grant(reference, .read) }
        for reference in 30..<40 as Range<UInt32> { try driver.grant(reference) }
        for _ in 0..<300 {
            for _ in 0..<random.next(below: 6) {
                let size = random.next(below: 8) == 0 ? random.next(below: 65536) : random.next(below: 300)
                let flags =
                    random.next(below: 40) == 0
                    ? UInt32(random.next(below: 16)) : UInt32(random.next(below: 2))
                try rings.transmit.put(
                    Self.request(
                        UInt32(random.next(below: 24)), offset: UInt32(random.next(below: 4300)),
                        size: UInt32(size), flags: flags, identifier: 5))
                try rings.receive.put([9, UInt32(random.next(below: 48))])
            }
            if random.next(below: 3) == 0 {
                // A device that was closed takes none.
                let length = Int(random.next(below: 9000))
                let frame = Packets.number(0) + Packets.number(length) + [UInt8](repeating: 1, count: length)
                _ = try peer.send(some: frame[...])
            }
            event.signalEvent()
            if random.next(below: 2) == 0 {
                _ = try rings.transmit.take()
                _ = try rings.receive.take()
            }
            _ = try peer.read(atMost: 1 << 20)
        }
        _ = backend.disconnect()
        #expect(try (0..<64 as Range<UInt32>).allSatisfy { try !driver.isInUse($0) })
    }
}
