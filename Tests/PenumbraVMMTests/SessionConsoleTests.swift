// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// What the back end does to the event channel that the guest names; used by one thread.
private final class Channels: @unchecked Sendable {
    var opened: [UInt32] = []
    var closed = 0
    var notifications = 0
    var refuses = false
}

@Suite struct SessionConsoleTests {
    private struct Refusal: Error {}

    private static let reference: UInt32 = 8
    private static let ring: UInt64 = 17
    private static let frontend = "/local/domain/1/device/console/1"
    private static let backend = "/local/domain/0/backend/console/1/1"

    private let special: GuestMemory
    private let ram: GuestMemory
    private let event: Descriptor
    private let channels = Channels()
    private let session = GuestSession(terminal: TerminalSize(rows: 33, columns: 101))
    private let console: SessionConsole
    private var guest: StoreClient

    init() throws {
        special = try XenSpecialFrames(ramFrames: 256).memory
        ram = try GuestMemory(size: 1 << 20)
        let event = try EventDescriptor.open()
        self.event = event
        console = SessionConsole(session, grants: GrantTable(special: special, ram: ram), resized: nil) {
            [channels] port in
            channels.opened.append(port)
            if channels.refuses { throw Refusal() }
            return EventChannel(
                event: event, notifyGuest: { channels.notifications += 1 }, close: { channels.closed += 1 })
        }
        var store = try StoreClient.domain()
        console.nodes.create(in: &store)
        guest = StoreClient(store)
    }

    /// What Linux' xencons_connect_backend does.
    private mutating func connect(reference: String = "8", port: String = "40") throws {
        try special.store(
            1 | Self.ring << 32, at: GuestPhysical(frame: UInt64(XENPV_GRANT_OFFSET)) + 8 * 8)
        let transaction = try guest.begin()
        for (name, value) in [("ring-ref", reference), ("port", port), ("state", "3")] {
            #expect(
                try guest.write("device/console/1/\(name)", value, transaction: transaction).answer == "OK")
        }
        #expect(try guest.end(transaction).answer == "OK")
        try notice()
    }

    private mutating func notice() throws {
        let changed = guest.store.takeChange(of: console.nodes.frontend)
        #expect(changed)
        console.frontendChanged(in: &guest.store)
    }

    private mutating func setState(_ state: Int) throws {
        #expect(try guest.write("device/console/1/state", String(state)).answer == "OK")
        try notice()
    }

    private var grantIsInUse: Bool {
        get throws { try special.load(at: GuestPhysical(frame: 1) + 64) & 0x18 != 0 }
    }

    private func say(_ text: String) throws {
        let page = GuestPhysical(frame: Self.ring)
        let produced = try ram.loadShared(at: page + 0xc0c)
        try ram.write(Array(text.utf8)[...], at: page + 0x400 + UInt64(produced))
        try ram.storeShared(produced + UInt32(text.utf8.count), at: page + 0xc0c)
        event.signalEvent()
        #expect(try console.serve(event) == nil)
    }

    private func heard() throws -> String {
        let page = GuestPhysical(frame: Self.ring)
        let range = Int(try ram.loadShared(at: page + 0xc00))..<Int(try ram.loadShared(at: page + 0xc04))
        try ram.storeShared(UInt32(range.upperBound), at: page + 0xc00)
        return String(decoding: try ram.read(range.count, at: page + UInt64(range.lowerBound)), as: UTF8.self)
    }

    // MARK: Xenbus

    @Test mutating func theGuestFindsADevice() throws {
        #expect(try guest.ask(.directory, "device/console").answer == "1")
        #expect(try guest.read("device/console/1/state") == "1")
        #expect(try guest.read("device/console/1/backend-id") == "0")
        #expect(try guest.read("device/console/1/backend") == Self.backend)
        #expect(try guest.read("\(Self.backend)/state") == "2")
        #expect(try guest.read("\(Self.backend)/frontend") == Self.frontend)
        #expect(try guest.write("\(Self.backend)/state", "4").answer == "EACCES")
        let changed = guest.store.takeChange(of: console.nodes.frontend)
        #expect(!changed)
    }

    private var backendState: String? { guest.store.read(XenStorePath(trusted: "\(Self.backend)/state")) }

    @Test mutating func bothHalvesConnectAndPart() throws {
        #expect(try guest.watch("\(Self.backend)/state", "t").answer == "OK")
        try connect()
        #expect(channels.opened == [40])
        #expect(try grantIsInUse)
        #expect(try guest.pending().map(StoreClient.event) == ["\(Self.backend)/state t"])
        #expect(backendState == "4")
        try setState(4)
        #expect(channels.opened == [40] && backendState == "4")
        try setState(5)
        #expect(try guest.pending().map(StoreClient.event) == ["\(Self.backend)/state t"])
        #expect(backendState == "5")
        try setState(6)
        #expect(backendState == "6" && channels.closed == 1)
        #expect(try !grantIsInUse)
    }

    @Test(arguments: [("9", "40"), ("x", "40"), ("8", ""), ("99999999", "40")])
    mutating func nonsenseClosesTheDevice(_ reference: String, _ port: String) throws {
        try connect(reference: reference, port: port)
        #expect(backendState == "6")
        #expect(console.descriptors.isEmpty)
        #expect(try !grantIsInUse)
    }

    @Test mutating func aPortThatCannotBeOpenedClosesTheDevice() throws {
        channels.refuses = true
        try connect()
        #expect(backendState == "6")
        #expect(try !grantIsInUse)
    }

    // MARK: The lines

    @Test mutating func theGuestIsToldTheSizeWhenItIsReady() throws {
        try connect()
        #expect(try heard() == "")
        try say("rea")
        #expect(try heard() == "")
        try say("dy\n")
        #expect(try heard() == "size 33 101\n")
        #expect(channels.notifications > 0)
    }

    @Test mutating func aNewSizeIsToldToAGuestThatIsReady() throws {
        try connect()
        try console.resize(to: TerminalSize(rows: 1, columns: 2))
        #expect(try heard() == "")
        try say("ready\n")
        #expect(try heard() == "size 1 2\n")
        try console.resize(to: TerminalSize(rows: 50, columns: 132))
        #expect(try heard() == "size 50 132\n")
    }

    @Test mutating func theStatusArrives() throws {
        try connect()
        try say("ready\nstatus 42\n")
        #expect(session.status == 42)
    }

    @Test(arguments: ["status\n", "status 256\n", "status -1\n", "status 1 2\n", "\n", "state 1\n"])
    mutating func otherLinesMeanNothing(_ line: String) throws {
        try connect()
        try say(line)
        #expect(session.status == nil)
        #expect(try heard() == "")
    }

    @Test mutating func endlessLinesAreCut() throws {
        try connect()
        for _ in 0..<3 { try say("status 1" + String(repeating: " ", count: 600)) }
        try say("\nstatus 7\n")
        #expect(session.status == 7)
    }

    @Test mutating func aGuestThatBreaksItsRingIsLeftAlone() throws {
        try connect()
        try ram.storeShared(5000, at: GuestPhysical(frame: Self.ring) + 0xc0c)
        event.signalEvent()
        #expect(try console.serve(event) == nil)
        #expect(console.descriptors.isEmpty && channels.closed == 1)
    }
}
