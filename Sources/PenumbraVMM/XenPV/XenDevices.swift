// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem

/// The VMM's end of an event channel that a Xen PV guest has from the start.
struct EventChannel {
    /// Signalled by the guest's notifications.
    let event: Descriptor
    let notifyGuest: () throws -> Void

    init(event: Descriptor, notifyGuest: @escaping () throws -> Void) {
        (self.event, self.notifyGuest) = (event, notifyGuest)
    }

    init(_ machine: VirtualMachine, port: Int32) throws {
        let port = UInt32(port)
        self.init(event: try EventDescriptor.open()) { try machine.post(port: port) }
        try machine.setNotification(ofPort: port, to: event)
    }
}

/// Serves the xenstore ring.
final class XenStoreDevice: GuestDevice {
    private let channel: EventChannel
    private var ring: XenStoreRing

    init(_ channel: EventChannel, _ ring: XenStoreRing) { (self.channel, self.ring) = (channel, ring) }

    var descriptors: [Descriptor] { [channel.event] }

    func serve(_ ready: Descriptor) throws -> GuestOutcome? {
        channel.event.takeEvent()
        let progress = try ring.pump()
        if progress.notify { try channel.notifyGuest() }
        // The rest after everybody else had a turn.
        if progress.unfinished { channel.event.signalEvent() }
        return nil
    }
}

/// Where a guest's console leads.
public struct ConsoleEnd: Sendable {
    /// Read until its end; nil: nobody types.
    public var input: Descriptor?
    /// Ends the guest when it is typed.
    public var escape: UInt8?
    public var output: ConsoleOutput

    /// Control and "]", as telnet(1) has it.
    public static let controlBracket: UInt8 = 0x1d

    public init(input: Descriptor?, escape: UInt8?, output: ConsoleOutput) {
        (self.input, self.escape, self.output) = (input, escape, output)
    }
}

/// Moves bytes between the console ring and its other end.
final class ConsoleDevice: GuestDevice {
    private let channel: EventChannel
    private let ring: ConsoleRing
    private var end: ConsoleEnd
    /// The guest made nonsense of the ring: nothing is moved any more.
    private var isBroken = false
    /// Input that the guest has no room for yet.
    private var untaken: [UInt8] = []
    private static let untakenLimit = 4096

    init(_ channel: EventChannel, _ ring: ConsoleRing, _ end: ConsoleEnd) {
        (self.channel, self.ring, self.end) = (channel, ring, end)
    }

    /// Input waits where it comes from while enough of it waits here.
    var descriptors: [Descriptor] {
        guard let input = end.input, untaken.count < Self.untakenLimit else { return [channel.event] }
        return [channel.event, input]
    }

    func serve(_ ready: Descriptor) throws -> GuestOutcome? {
        if ready === end.input {
            let bytes = try ready.read(atMost: Self.untakenLimit) ?? []
            if bytes.isEmpty { end.input = nil }
            if let escape = end.escape, bytes.contains(escape) { return .left }
            untaken += bytes
        } else {
            channel.event.takeEvent()
        }
        try move()
        return nil
    }

    /// Both ways, as far as it goes.
    private func move() throws {
        guard !isBroken else { return untaken.removeAll() }
        do {
            let output = try ring.takeOutput()
            end.output.append(output)
            let taken = try ring.put(untaken)
            untaken.removeFirst(taken)
            if !output.isEmpty || taken > 0 { try channel.notifyGuest() }
        } catch is SharedRing.BadIndices {
            isBroken = true
        }
    }
}
