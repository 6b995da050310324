// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// Counts what a device tells its guest; used by one thread.
private final class Notifications: @unchecked Sendable {
    var count = 0
}

@Suite struct ConsoleDeviceTests {
    private static let inputProduced = GuestPhysical(0xc04)
    private static let inputConsumed = GuestPhysical(0xc00)
    private static let outputProduced = GuestPhysical(0xc0c)

    private let memory: GuestMemory
    private let event: Descriptor
    private let notifications = Notifications()
    private let input: Descriptor
    private let keyboard: Descriptor
    private let printed: Descriptor
    private let output: ConsoleOutput

    init() throws {
        memory = try GuestMemory(size: 4096)
        event = try EventDescriptor.open()
        (input, keyboard) = try ChildProcess.pipe()
        let screen: Descriptor
        (printed, screen) = try ChildProcess.pipe()
        output = try ConsoleOutput(to: screen)
    }

    private func device(escape: UInt8? = nil, stuffedFor session: GuestSession? = nil) -> ConsoleDevice {
        ConsoleDevice(
            EventChannel(event: event) { [notifications] in notifications.count += 1 },
            ConsoleRing(memory: memory, frame: 0),
            ConsoleEnd(input: input, stuffedFor: session, escape: escape, output: output))
    }

    @Test func whatTheGuestPrintsIsPrinted() throws {
        let device = device()
        try memory.write(Array("hello".utf8)[...], at: GuestPhysical(0x400))
        try memory.storeShared(5, at: Self.outputProduced)
        event.signalEvent()
        #expect(try device.serve(event) == nil)
        output.finish(within: 30)
        #expect(try printed.read(atMost: 100) == Array("hello".utf8))
        #expect(notifications.count == 1)
        #expect(!event.takeEvent())
    }

    @Test func whatIsTypedReachesTheGuest() throws {
        let device = device()
        try keyboard.write(Array("ls\r".utf8))
        #expect(try device.serve(input) == nil)
        #expect(try memory.loadShared(at: Self.inputProduced) == 3)
        #expect(try memory.read(3, at: GuestPhysical(0)) == Array("ls\r".utf8))
        #expect(notifications.count == 1)
    }

    /// Nothing typed is lost, and more than a little is left where it is.
    @Test func inputWaitsForTheGuest() throws {
        let device = device()
        let text = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        try keyboard.write(text)
        var received: [UInt8] = []
        while received.count < text.count {
            while device.descriptors.contains(where: { $0 === input }) { _ = try device.serve(input) }
            #expect(try memory.loadShared(at: Self.inputProduced) == UInt32(received.count + 1024))
            received += try memory.read(1024, at: GuestPhysical(0))
            try memory.storeShared(UInt32(received.count), at: Self.inputConsumed)
            event.signalEvent()
            _ = try device.serve(event)
            if received.count + 5000 > text.count { break }
        }
        #expect(received == Array(text.prefix(received.count)))
    }

    /// A console that still echoes and edits lines would spoil a command's input.
    @Test func aSessionsInputWaitsUntilItIsReady() throws {
        let session = GuestSession(terminal: nil)
        let device = device(stuffedFor: session)
        try keyboard.write([0x61, 0x0f, 0x10])
        #expect(!device.descriptors.contains { $0 === input })
        _ = session.take(line: Array("ready".utf8))
        #expect(device.descriptors.contains { $0 === input })
        #expect(try device.serve(input) == nil)
        let produced = Int(try memory.loadShared(at: Self.inputProduced))
        #expect(try memory.read(produced, at: GuestPhysical(0)) == [0x61, 0x10, 0x4f, 0x10, 0x50])
    }

    @Test func theEscapeEndsTheGuest() throws {
        let device = device(escape: ConsoleEnd.controlBracket)
        try keyboard.write([0x61])
        #expect(try device.serve(input) == nil)
        try keyboard.write([0x62, 0x1d, 0x63])
        #expect(try device.serve(input) == .left)
    }

    @Test func withoutAnEscapeEveryByteIsForTheGuest() throws {
        let device = device()
        try keyboard.write([0x1d])
        #expect(try device.serve(input) == nil)
        #expect(try memory.read(1, at: GuestPhysical(0)) == [0x1d])
    }

    @Test func aGuestThatBreaksItsRingIsLeftAlone() throws {
        let device = device(escape: ConsoleEnd.controlBracket)
        try memory.storeShared(5000, at: Self.outputProduced)
        event.signalEvent()
        #expect(try device.serve(event) == nil)
        #expect(notifications.count == 0)
        // The way out stays open.
        try keyboard.write([0x61])
        #expect(try device.serve(input) == nil)
        try keyboard.write([0x1d])
        #expect(try device.serve(input) == .left)
    }
}

@Suite struct XenStoreDeviceTests {
    @Test func aRequestIsServedAndTheGuestTold() throws {
        let memory = try GuestMemory(size: 4096)
        let event = try EventDescriptor.open()
        let notifications = Notifications()
        let device = XenStoreDevice(
            EventChannel(event: event) { notifications.count += 1 },
            XenStoreRing(memory: memory, frame: 0, store: try StoreClient.domain()))
        let request = XenStoreMessage(type: 2, request: 1, transaction: 0, payload: Array("name\0".utf8))
            .bytes
        try memory.write(request[...], at: GuestPhysical(0))
        try memory.storeShared(UInt32(request.count), at: GuestPhysical(0x804))
        event.signalEvent()
        #expect(try device.serve(event) == nil)
        #expect(notifications.count == 1)
        #expect(try memory.read(20, at: GuestPhysical(0x400)).suffix(4) == Array("test".utf8)[...])
        #expect(!event.takeEvent())
    }

    /// A device that fails as often as it is asked.
    private final class FailingBackend: XenBackend {
        let nodes = XenDeviceNodes(kind: "vbd", number: 1)
        let changed: Descriptor?
        var failure: String? { "of no use" }
        var isConnected: Bool { false }

        init() throws { changed = try EventDescriptor.open() }

        func connect(_ store: XenStore) throws {}
        func disconnect() -> Bool { true }
    }

    @Test func aGuestCannotFillItsVMMsErrors() throws {
        let event = try EventDescriptor.open()
        let backend = try FailingBackend()
        var lines: [String] = []
        let device = XenStoreDevice(
            EventChannel(event: event) {},
            XenStoreRing(memory: try GuestMemory(size: 4096), frame: 0, store: try StoreClient.domain()),
            backends: [backend]
        ) { lines.append($0) }
        for _ in 0..<1000 {
            backend.changed?.signalEvent()
            #expect(try device.serve(backend.changed!) == nil)
        }
        #expect(lines.count == XenStoreDevice.reportLimit + 1)
        #expect(lines.first == "vbd 1: of no use; the device is closed")
        #expect(lines.last?.contains("not reported") == true)
    }

    /// The guest is told by its watch, as Linux' drivers/xen/manage.c wants it.
    @Test func aPowerOffIsAskedFor() throws {
        let memory = try GuestMemory(size: 4096)
        let event = try EventDescriptor.open()
        let device = XenStoreDevice(
            EventChannel(event: event) {},
            XenStoreRing(memory: memory, frame: 0, store: try StoreClient.domain()))
        let watch = XenStoreMessage(
            type: XenStoreMessage.Kind.watch.rawValue, request: 1, transaction: 0,
            payload: StoreClient.text("control/shutdown", "t")
        ).bytes
        try memory.write(watch[...], at: GuestPhysical(0))
        try memory.storeShared(UInt32(watch.count), at: GuestPhysical(0x804))
        _ = try device.serve(event)
        let answered = try memory.loadShared(at: GuestPhysical(0x80c))
        device.requestPowerOff()
        #expect(event.takeEvent())
        _ = try device.serve(event)
        let produced = try memory.loadShared(at: GuestPhysical(0x80c))
        let told = try memory.read(Int(produced - answered), at: GuestPhysical(0x400 + UInt64(answered)))
        #expect(told.suffix(19) == StoreClient.text("control/shutdown", "t")[...])
    }
}

@Suite struct GuestNameTests {
    @Test func guestsWithoutANameGetDifferentOnes() throws {
        let names = (0..<10).map { _ in GuestName.random().text }
        #expect(Set(names).count > 1)
        for name in names { #expect(try GuestName(name).text == name) }
    }

    @Test(arguments: ["a", "web-1.test_2", String(repeating: "n", count: 64)])
    func namesAreTaken(_ name: String) throws {
        #expect(try GuestName(name).text == name)
    }

    @Test(arguments: ["", ".", "..", ".a", "-a", "a b", "a/b", "é", "a\0", String(repeating: "n", count: 65)])
    func otherNamesAreRefused(_ name: String) {
        #expect(throws: VMMError.badName(name)) { try GuestName(name) }
    }

    @Test func identifiersAreRandomUUIDs() {
        let identifier = XenGuest.randomIdentifier()
        let parts = identifier.split(separator: "-")
        #expect(parts.map(\.count) == [8, 4, 4, 4, 12])
        #expect(parts[2].first == "4" && "89ab".contains(parts[3].first!))
        #expect(identifier != XenGuest.randomIdentifier())
    }
}
