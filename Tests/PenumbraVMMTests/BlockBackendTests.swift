// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraVMM

@Suite struct BlockBackendTests {
    private static let ring: UInt32 = 20
    private static let port: UInt32 = 9
    private static let sectors = 2048

    private let driver: GuestDriver
    private let folder: TemporaryDirectory
    private let event: Descriptor
    private let answered: Descriptor
    private let backend: BlockBackend
    private var guest: StoreClient

    init() throws {
        driver = try GuestDriver()
        folder = try TemporaryDirectory()
        let path = folder.path + "/disk"
        try Files.write([UInt8](repeating: 0x11, count: Self.sectors * 512), to: path)
        let (event, answered) = (try EventDescriptor.open(), try EventDescriptor.open())
        (self.event, self.answered) = (event, answered)
        backend = try BlockBackend(
            DiskFile(Disk(path: path, index: 0)), grants: driver.grants, report: { _ in }
        ) { port in
            #expect(port == Self.port)
            return EventChannel(event: event, notifyGuest: { answered.signalEvent() })
        }
        var store = try StoreClient.domain()
        backend.nodes.create(in: &store)
        guest = StoreClient(store)
    }

    private func key(_ name: String) -> String? { guest.store.read(backend.nodes.backend / name) }

    /// What Linux' talk_to_blkback leaves.
    private mutating func connect(_ keys: [(String, String)]? = nil) throws -> String? {
        for (name, value) in keys ?? [
            ("ring-ref", "20"), ("event-channel", "9"), ("protocol", "x86_64-abi"),
            ("feature-persistent", "1"),
        ] {
            #expect(try guest.write("device/vbd/51712/\(name)", value).answer == "OK")
        }
        return try setState(3)
    }

    private mutating func setState(_ state: Int) throws -> String? {
        #expect(try guest.write("device/vbd/51712/state", String(state)).answer == "OK")
        let reason = backend.frontendChanged(in: &guest.store)
        try backend.finishLeaving(in: &guest.store)
        return reason
    }

    private func front() throws -> FrontRing {
        try FrontRing(driver, frame: Self.ring, slotSize: 28, slots: 32)
    }

    /// The answers to that many requests; the threads take the time they take.
    private func answers(_ count: Int, from front: inout FrontRing) throws -> [[UInt32]] {
        var answers = try front.take()
        while answers.count < count {
            try #require(answered.waitReadable(seconds: 60))
            answered.takeEvent()
            answers += try front.take()
        }
        return answers
    }

    @Test func theGuestFindsItsDisk() throws {
        #expect(key("state") == "2" && key("sectors") == "2048" && key("sector-size") == "512")
        #expect(key("info") == "0" && key("feature-flush-cache") == "1" && key("feature-discard") == "1")
        #expect(guest.store.read(backend.nodes.frontend / "virtual-device") == "51712")
    }

    @Test mutating func requestsAreServedUntilTheDriverGoes() throws {
        var front = try front()
        #expect(try connect() == nil)
        #expect(key("state") == "4" && backend.isConnected)
        for round in 0..<50 as Range<UInt32> {
            for index in 0..<32 as Range<UInt32> {
                try driver.grant(100 + index)
                let request = BlockRequests.direct(
                    index % 3 == 0 ? 3 : index % 2, sector: UInt64(index * 8),
                    index % 3 == 0 ? [] : [(100 + index, 0, 7)], identifier: UInt64(round * 32 + index))
                try front.put(request)
            }
            event.signalEvent()
            let answers = try answers(32, from: &front)
            #expect(Set(answers.map { $0[0] }) == Set(round * 32..<(round * 32 + 32)))
            #expect(answers.allSatisfy { $0[2] >> 16 == 0 })
        }
        #expect(try setState(5) == nil && key("state") == "5")
        #expect(try setState(6) == nil && key("state") == "6")
        #expect(try !backend.isConnected && !driver.isInUse(Self.ring))
        // Another driver may come.
        #expect(try setState(1) == nil && key("state") == "2")
        _ = try self.front()
        #expect(try connect() == nil)
        #expect(key("state") == "4")
    }

    /// A thread is in a call of the host's that does not return: whoever runs the VM goes on, and the
    /// guest has its memory back when that is over, not before.
    @Test mutating func aDriverThatGoesIsNotWaitedFor() throws {
        let path = folder.path + "/slow"
        try Files.write([UInt8](repeating: 0, count: Self.sectors * 512), to: path)
        let (begun, over) = (Semaphore(0), Semaphore(0))
        let slow = try BlockBackend(
            DiskFile(Disk(path: path, index: 0)), grants: driver.grants,
            report: { _ in
                begun.signal()
                over.wait()
            }
        ) { [event] _ in EventChannel(event: event, notifyGuest: {}) }
        func setState(_ state: Int) throws -> String? {
            #expect(try guest.write("device/vbd/51712/state", String(state)).answer == "OK")
            _ = slow.frontendChanged(in: &guest.store)
            return key("state")
        }
        var front = try front()
        for (name, value) in [("ring-ref", "20"), ("event-channel", "9")] {
            #expect(try guest.write("device/vbd/51712/\(name)", value).answer == "OK")
        }
        #expect(try setState(3) == "4")
        // A read that the host fails, and takes its time to.
        #expect(truncate(path, 0) == 0)
        try driver.grant(100)
        try front.put(BlockRequests.direct(0, sector: 0, [(100, 0, 7)], identifier: 1))
        event.signalEvent()
        begun.wait()
        #expect(try setState(6) == "5" && slow.isConnected)
        #expect(try setState(1) == "5" && driver.isInUse(Self.ring))
        over.signal()
        try slow.finishLeaving(in: &guest.store)
        #expect(try key("state") == "2" && !driver.isInUse(Self.ring))
    }

    @Test mutating func ringsOfSeveralPagesAreTaken() throws {
        for reference in 40..<44 as Range<UInt32> { try driver.grant(reference) }
        #expect(
            try connect([
                ("ring-page-order", "2"), ("ring-ref0", "40"), ("ring-ref1", "41"), ("ring-ref2", "42"),
                ("ring-ref3", "43"), ("event-channel", "9"),
            ]) == nil)
        #expect(key("state") == "4")
        #expect(try (40..<44 as Range<UInt32>).allSatisfy { try driver.isInUse($0) })
    }

    @Test(arguments: [
        [("event-channel", "9")], [("ring-ref", "20")], [("ring-ref", "21"), ("event-channel", "9")],
        [("ring-ref", "20"), ("event-channel", "9"), ("protocol", "x86_32-abi")],
        [("ring-page-order", "5"), ("event-channel", "9")],
        [("ring-page-order", "1"), ("ring-ref0", "20"), ("event-channel", "9")],
    ])
    mutating func nonsenseClosesTheDisk(_ keys: [(String, String)]) throws {
        try driver.grant(Self.ring)
        let reason = try connect(keys)
        #expect(reason?.hasPrefix("disk xvda: ") == true)
        #expect(try key("state") == "6" && !backend.isConnected && !driver.isInUse(Self.ring))
        // It stays closed until a driver begins anew.
        #expect(try setState(4) == nil && key("state") == "6")
    }

    @Test mutating func aGuestThatBreaksItsRingLosesItsDisk() throws {
        let front = try front()
        #expect(try connect() == nil)
        try front.claim(produced: 1000)
        event.signalEvent()
        try #require(backend.changed!.waitReadable(seconds: 60))
        let reason = backend.attend(in: &guest.store)
        #expect(
            reason == "disk xvda: the ring of 32 slots has 1000 requests in it; the device is closed")
        try backend.finishLeaving(in: &guest.store)
        #expect(try key("state") == "6" && !driver.isInUse(Self.ring))
    }

    /// Requests of random words and numbers in any order: the disk serves on, or is closed.
    @Test(arguments: 1...8 as ClosedRange<UInt64>) mutating func randomRingsDoNoHarm(_ seed: UInt64) throws {
        var random = SeededNumbers(seed)
        var front = try front()
        #expect(try connect() == nil)
        for _ in 0..<300 {
            for _ in 0..<random.next(below: 8) {
                try front.put((0..<28).map { _ in UInt32(random.next(below: 40)) })
            }
            event.signalEvent()
            if random.next(below: 4) == 0 { _ = try front.take() }
            if random.next(below: 200) == 0 { try front.claim(produced: UInt32(random.next(below: 1000))) }
        }
        _ = backend.disconnect()
        try backend.finishLeaving(in: &guest.store)
        #expect(try (0..<64 as Range<UInt32>).allSatisfy { try !driver.isInUse($0) })
    }
}
