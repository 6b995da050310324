// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// An agent's messages through the ring of the guest's second console.
@Suite struct AgentConsoleTests {
    private static let ring: UInt64 = 17

    private let ram: GuestMemory
    private let event: Descriptor
    private let link: AgentLink
    private let console: AgentConsole
    private let events = EventList()

    init() throws {
        let special = try XenSpecialFrames(ramFrames: 256).memory
        ram = try GuestMemory(size: 1 << 20)
        let event = try EventDescriptor.open()
        self.event = event
        link = try AgentLink(handler: events.append)
        console = AgentConsole(link, grants: GrantTable(special: special, ram: ram)) { _ in
            EventChannel(event: event, notifyGuest: {})
        }
        try special.store(1 | Self.ring << 32, at: GuestPhysical(frame: UInt64(XENPV_GRANT_OFFSET)) + 8 * 8)
        var store = try StoreClient.domain()
        console.nodes.create(in: &store)
        store.write("8", to: console.nodes.frontend / "ring-ref")
        store.write("40", to: console.nodes.frontend / "port")
        try console.connect(store)
    }

    /// The ring is the guest's: its numbers of bytes put in and taken out.
    private func index(_ offset: UInt64) -> GuestPhysical { GuestPhysical(frame: Self.ring) + offset }

    private func say(_ message: AgentMessage) throws {
        let produced = try ram.loadShared(at: index(0xc0c))
        let bytes = message.frame.bytes
        try ram.write(bytes[...], at: index(0x400) + UInt64(produced))
        try ram.storeShared(produced + UInt32(bytes.count), at: index(0xc0c))
        event.signalEvent()
        #expect(try console.serve(event) == nil)
    }

    private func hear() throws -> [UInt8] {
        let range = Int(try ram.loadShared(at: index(0xc00)))..<Int(try ram.loadShared(at: index(0xc04)))
        try ram.storeShared(UInt32(range.upperBound), at: index(0xc00))
        return try ram.read(range.count, at: index(UInt64(range.lowerBound)))
    }

    /// The driver's ring works before the host has bound its port, and what it notifies then is lost.
    @Test func whatTheGuestSaidBeforeWeListenedIsHeard() throws {
        let bytes = AgentMessage.hello(version: 1, kernel: "6.1").frame.bytes
        try ram.write(bytes[...], at: index(0x400))
        try ram.storeShared(UInt32(bytes.count), at: index(0xc0c))
        let ready = try #require(console.descriptors.first { $0.waitReadable(seconds: 0) })
        #expect(try console.serve(ready) == nil)
        #expect(events.all == [.ready(kernel: "6.1")])
    }

    @Test func messagesPassBothWays() throws {
        link.start(ProcessSpec("a"))
        #expect(try console.serve(link.wake) == nil)
        #expect(try hear() == [])
        try say(.hello(version: 1, kernel: "6.1"))
        #expect(events.all == [.ready(kernel: "6.1")])
        let expected: [AgentMessage] = [.welcome(version: 1), .start(.main, ProcessSpec("a"))]
        #expect(try hear() == expected.flatMap(\.frame.bytes))
    }

    /// The ring takes 1024 bytes at a time.
    @Test func whatDoesNotFitGoesLater() throws {
        try say(.hello(version: 1, kernel: "6.1"))
        _ = try hear()
        let word = String(repeating: "x", count: 900)
        link.start(ProcessSpec(word, word))
        #expect(try console.serve(link.wake) == nil)
        #expect(
            try ram.loadShared(at: index(0xc04)) == UInt32(AgentMessage.welcome(version: 1).frame.bytes.count)
                + 1024)
    }

    @Test func aGuestThatBreaksItsRingIsLost() throws {
        try ram.storeShared(5000, at: index(0xc0c))
        event.signalEvent()
        #expect(try console.serve(event) == nil)
        #expect(!console.isConnected && events.all.count == 1)
        guard case .lost(let reason)? = events.all.first else { throw ProtocolError.notAFrame }
        #expect(reason.contains("ring"))
    }
}
