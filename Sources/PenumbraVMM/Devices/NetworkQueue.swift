// SPDX-License-Identifier: Apache-2.0
import PenumbraJail
import PenumbraSystem
import Synchronization

/// Both rings of a network interface, and the socket behind them, served by a thread of its own. The
/// guest's frames wait in the ring while the socket takes none; the network's wait in the socket while
/// the guest has no room.
final class NetworkQueue: Sendable {
    /// The socket outlives a guest's driver: what was read of a frame, or not yet sent, is kept with it.
    final class Link: Sendable {
        fileprivate let stream: Mutex<FrameStream>

        init(_ socket: Descriptor) { stream = Mutex(FrameStream(socket)) }
    }

    private struct State {
        var failure: String?
        var isStopping = false
    }

    private struct Rings {
        var transmit: NetworkTransmit
        var receive: NetworkReceive
    }

    private let link: Link
    private let channel: EventChannel
    private let state = Mutex(State())
    private let rings: Mutex<Rings>
    private let stopping: Descriptor
    private let failed: Descriptor
    private let thread = Mutex<SystemThread?>(nil)

    /// `failed`, an EventDescriptor, is signalled when the guest made nonsense of a ring or the network's
    /// other end is gone; see `failure`.
    init(
        _ link: Link, _ transmit: NetworkTransmit, _ receive: NetworkReceive, _ channel: EventChannel,
        failed: Descriptor
    ) throws {
        (self.link, self.channel, self.failed) = (link, channel, failed)
        rings = Mutex(Rings(transmit: transmit, receive: receive))
        stopping = try EventDescriptor.open()
        let thread = try SystemThread(name: "network") {
            ThreadRole.network.confine()
            self.work()
        }
        self.thread.withLock { $0 = thread }
    }

    /// Why nothing is moved any more; nil: it is.
    var failure: String? { state.withLock { $0.failure } }

    func stop() {
        state.withLock { $0.isStopping = true }
        stopping.signalEvent()
        let thread = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        thread?.join()
    }

    /// Packets of the guest's at a time.
    private static let batch = 256

    private func work() {
        do {
            // Only this thread uses them while it lives.
            try link.stream.withLock { stream in
                try rings.withLock { rings in
                    while !state.withLock({ $0.isStopping }) {
                        if try !move(&rings, &stream) { try wait(rings, stream) }
                    }
                }
            }
        } catch {
            state.withLock { $0.failure = "\(error)" }
            failed.signalEvent()
        }
    }

    /// Moves what can be moved; says whether that was anything.
    private func move(_ rings: inout Rings, _ stream: inout FrameStream) throws -> Bool {
        var (hasSent, hasReceived) = (false, false)
        var packets = 0
        // Packets that are dropped fill nothing: whoever wants this thread to stop must be heard.
        while packets < Self.batch, stream.hasRoom, try rings.transmit.move(to: &stream) {
            packets += 1
            hasSent = true
        }
        try stream.send()
        try stream.receive()
        while let length = try stream.nextLength(), try rings.receive.hasRoom(for: length),
            let frame = try stream.take()
        {
            try rings.receive.deliver(frame)
            hasReceived = true
        }
        let sent = try hasSent && rings.transmit.publish()
        let received = try hasReceived && rings.receive.publish()
        if sent || received { try channel.notifyGuest() }
        return hasSent || hasReceived
    }

    /// Waits for what could not be moved.
    private func wait(_ rings: Rings, _ stream: FrameStream) throws {
        var readable = [channel.event, stopping]
        if stream.hasRoom, try rings.transmit.awaitRequests() { return }
        if let length = try stream.nextLength() {
            if try rings.receive.awaitRoom(for: length) { return }
        } else {
            readable.append(stream.socket)
        }
        Descriptor.wait(readable: readable, writable: stream.hasOutput ? [stream.socket] : [])
        channel.event.takeEvent()
    }
}
