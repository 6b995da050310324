// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem

/// The VMM's end of one of a Xen PV guest's event channels; let go at its end.
final class EventChannel: Sendable {
    /// Signalled by the guest's notifications.
    let event: Descriptor
    let notifyGuest: @Sendable () throws -> Void
    private let close: @Sendable () -> Void

    init(
        event: Descriptor, notifyGuest: @escaping @Sendable () throws -> Void,
        close: @escaping @Sendable () -> Void = {}
    ) {
        (self.event, self.notifyGuest, self.close) = (event, notifyGuest, close)
    }

    convenience init(_ machine: VirtualMachine, port: UInt32) throws {
        let event = try EventDescriptor.open()
        try machine.setNotification(ofPort: port, to: event)
        self.init(
            event: event, notifyGuest: { try machine.post(port: port) },
            // Fails only if nobody listened.
            close: { try? machine.removeNotification(ofPort: port) })
    }

    deinit { close() }
}

/// Serves the xenstore ring, and the devices whose halves meet in the store.
final class XenStoreDevice: GuestDevice {
    private let channel: EventChannel
    private var ring: XenStoreRing
    private let backends: [any XenBackend]
    /// Takes a line about a device that was closed.
    private let report: (String) -> Void
    private var reports = 0
    static let reportLimit = 32

    init(
        _ channel: EventChannel, _ ring: XenStoreRing, backends: [any XenBackend] = [],
        report: @escaping (String) -> Void = { _ in }
    ) {
        (self.channel, self.ring, self.backends, self.report) = (channel, ring, backends, report)
        for backend in backends { backend.nodes.create(in: &self.ring.store) }
    }

    var descriptors: [Descriptor] { [channel.event] + backends.compactMap(\.changed) }

    func serve(_ ready: Descriptor) throws -> GuestOutcome? {
        if let backend = backends.first(where: { $0.changed === ready }) {
            ready.takeEvent()
            backend.attend(in: &ring.store).map(tell)
        }
        channel.event.takeEvent()
        let progress = try ring.pump()
        if progress.notify { try channel.notifyGuest() }
        // The rest, and what the back ends have to say, after everybody else had a turn.
        if updateBackends() || progress.unfinished { channel.event.signalEvent() }
        return nil
    }

    /// Says whether one of them had something to do.
    private func updateBackends() -> Bool {
        let changed = backends.filter { ring.store.takeChange(of: $0.nodes.frontend) }
        for backend in changed { backend.frontendChanged(in: &ring.store).map(tell) }
        return !changed.isEmpty
    }

    /// A guest may have devices closed again and again.
    private func tell(_ line: String) {
        reports += 1
        if reports <= Self.reportLimit { report(line) }
        if reports == Self.reportLimit { report("further devices that are closed are not reported") }
    }

    /// Asks the guest to power off; it may take its time, or not listen.
    func requestPowerOff() {
        ring.store.write("poweroff", to: XenStoreDomain.shutdown(in: ring.store))
        channel.event.signalEvent()
    }
}

/// Where a guest's console leads.
public struct ConsoleEnd: Sendable {
    /// Read until its end; nil: nobody types.
    public var input: Descriptor?
    /// The input goes as StuffedInput, once this session is ready; nil: as it is, at any time.
    public var stuffedFor: GuestSession?
    /// Ends the guest when it is typed.
    public var escape: UInt8?
    public var output: ConsoleOutput
    /// Takes what the guest's kernel says before its console works, and behind its back; nil: `output` does.
    public var early: (@Sendable ([UInt8]) -> Void)?

    /// Control and "]", as telnet(1) has it.
    public static let controlBracket: UInt8 = 0x1d

    public init(
        input: Descriptor?, stuffedFor: GuestSession? = nil, escape: UInt8?, output: ConsoleOutput,
        early: (@Sendable ([UInt8]) -> Void)? = nil
    ) {
        (self.input, self.stuffedFor, self.escape) = (input, stuffedFor, escape)
        (self.output, self.early) = (output, early)
    }
}

/// Input of any bytes and with an end, over a console that has none and whose driver takes Control-O
/// for a SysRq key (Linux' drivers/tty/hvc/hvc_console.c). Its other end is guest-root/programs/input.c.
enum StuffedInput {
    /// Control-P: the byte behind it is another one with bit 6 turned over, or says that this is the end.
    private static let escape: UInt8 = 0x10
    private static let sysRq: UInt8 = 0x0f
    private static let turned: UInt8 = 0x40

    static let end: [UInt8] = [escape, 0x04]

    static func stuffed(_ bytes: [UInt8]) -> [UInt8] {
        bytes.flatMap { $0 == escape || $0 == sysRq ? [escape, $0 ^ turned] : [$0] }
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
        guard let input = end.input, untaken.count < Self.untakenLimit, end.stuffedFor?.isReady != false
        else {
            return [channel.event]
        }
        return [channel.event, input]
    }

    func serve(_ ready: Descriptor) throws -> GuestOutcome? {
        if ready === end.input {
            let bytes = try ready.read(atMost: Self.untakenLimit) ?? []
            if bytes.isEmpty { end.input = nil }
            if let escape = end.escape, bytes.contains(escape) { return .left }
            untaken +=
                end.stuffedFor == nil ? bytes : bytes.isEmpty ? StuffedInput.end : StuffedInput.stuffed(bytes)
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
