// SPDX-License-Identifier: Apache-2.0
import PenumbraJail
import PenumbraSystem
import Synchronization

/// Serves a disk's ring with threads of its own (see LeadThreads). For a host that has the data in memory
/// nearly everything needs no waiting.
final class BlockQueue: DeviceQueue, Sendable {
    /// Requests that wait for the host at the same time, and the one that leads.
    private static let threadLimit = 8

    private struct State {
        var ring: BackRing
        var isStopping = false
        var failure: String?
    }

    private let service: BlockService
    private let channel: EventChannel
    private let state: Mutex<State>
    private let stopping: Descriptor
    private let changed: Descriptor
    private let threads = Mutex<LeadThreads?>(nil)

    /// `changed`, an EventDescriptor, is signalled when the guest made nonsense of the ring (see
    /// `failure`), and at the end.
    init(
        _ service: BlockService, _ ring: BackRing, _ channel: EventChannel, name: String, changed: Descriptor
    ) throws {
        (self.service, self.channel, self.changed) = (service, channel, changed)
        state = Mutex(State(ring: ring))
        stopping = try EventDescriptor.open()
        let threads = try LeadThreads(
            name: name, role: .disk, limit: Self.threadLimit, lead: { try self.lead() },
            failed: { self.fail($0) },
            ended: { changed.signalEvent() })
        self.threads.withLock { $0 = threads }
    }

    var failure: String? { state.withLock { $0.failure } }

    func stop() {
        state.withLock { $0.isStopping = true }
        stopping.signalEvent()
        threads.withLock { $0 }?.stop()
    }

    var hasEnded: Bool { threads.withLock { $0 }?.hasEnded ?? true }

    /// The threads know this queue, and it them: no more from here on.
    func join() {
        threads.withLock { threads in
            defer { threads = nil }
            return threads
        }?.join()
    }

    private func fail(_ error: any Error) {
        state.withLock { state in (state.isStopping, state.failure) = (true, "\(error)") }
        stopping.signalEvent()
        changed.signalEvent()
    }

    /// Serves what needs no waiting until there is something that may wait; nil at the end.
    private func lead() throws -> LeadThreads.Work? {
        while let request = try nextRequest() {
            guard let status = service.serve(request, mayWait: false) else {
                return { try self.serveWaiting(request) }
            }
            try answer(request, status)
        }
        return nil
    }

    private func serveWaiting(_ request: BlockRequest) throws {
        // Never nil: it may wait.
        if let status = service.serve(request, mayWait: true) { try answer(request, status) }
    }

    /// The next request, as soon as there is one; nil at the end.
    private func nextRequest() throws -> BlockRequest? {
        while true {
            let (request, isStopping) = try state.withLock { state in
                if state.isStopping { return (nil as [UInt32]?, true) }
                return (try state.ring.take(), false)
            }
            if isStopping { return nil }
            if let request { return BlockRequest(request) }
            if try !state.withLock({ try $0.ring.awaitRequests() }) {
                Descriptor.wait(readable: [channel.event, stopping])
                channel.event.takeEvent()
            }
        }
    }

    private func answer(_ request: BlockRequest, _ status: BlockRequest.Status) throws {
        let isAwaited = try state.withLock { state in
            try state.ring.answer(request.response(status))
            return try state.ring.publish()
        }
        if isAwaited { try channel.notifyGuest() }
    }
}
