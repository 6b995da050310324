// SPDX-License-Identifier: Apache-2.0
import PenumbraJail
import PenumbraSystem
import Synchronization

/// Serves a disk's ring with threads of its own. One of them leads: it takes the requests from the
/// ring, waits for the guest's events, and does at once what needs no waiting, which for a host that
/// has the data in memory is nearly everything, so that no other thread must be woken. Before it does
/// what may wait it hands the lead on: to a thread that has none, or to a new one.
final class BlockQueue: Sendable {
    /// Requests that wait for the host at the same time, and the one that leads.
    private static let threadLimit = 8

    private struct State {
        var ring: BackRing
        var threads: [SystemThread] = []
        /// Threads that wait for the lead.
        var idle = 0
        var isStopping = false
        var failure: String?
    }

    private let name: String
    private let service: BlockService
    private let channel: EventChannel
    private let state: Mutex<State>
    private let lead = Semaphore(1)
    private let stopping: Descriptor
    private let failed: Descriptor

    /// `failed`, an EventDescriptor, is signalled when the guest made nonsense of the ring; see `failure`.
    init(
        _ service: BlockService, _ ring: BackRing, _ channel: EventChannel, name: String, failed: Descriptor
    ) throws {
        (self.service, self.channel, self.name, self.failed) = (service, channel, name, failed)
        state = Mutex(State(ring: ring))
        stopping = try EventDescriptor.open()
        try state.withLock { state in state.threads.append(try thread()) }
    }

    /// Why nothing is served any more; nil: it is.
    var failure: String? { state.withLock { $0.failure } }

    /// Ends what was begun, then the threads.
    func stop() {
        let threads = state.withLock { state in
            state.isStopping = true
            defer { state.threads.removeAll() }
            return state.threads
        }
        stopping.signalEvent()
        for thread in threads { thread.join() }
    }

    private func thread() throws -> SystemThread {
        try SystemThread(name: name) {
            ThreadRole.disk.confine()
            self.work()
        }
    }

    private func work() {
        do {
            while let request = try takeLead() {
                // Never nil: it may wait.
                if let status = service.serve(request, mayWait: true) { try answer(request, status) }
            }
        } catch {
            state.withLock { state in (state.isStopping, state.failure) = (true, "\(error)") }
            stopping.signalEvent()
            failed.signalEvent()
        }
        // Whoever waits for the lead finds the end as well.
        lead.signal()
    }

    /// Waits for the lead, and leads until there is something to do that may wait; nil at the end.
    private func takeLead() throws -> BlockRequest? {
        state.withLock { $0.idle += 1 }
        lead.wait()
        state.withLock { $0.idle -= 1 }
        while let request = try nextRequest() {
            guard let status = service.serve(request, mayWait: false) else {
                handOn()
                return request
            }
            try answer(request, status)
        }
        return nil
    }

    private func handOn() {
        state.withLock { state in
            // A host without threads to give has the lead wait for the next that comes back.
            if state.idle == 0, state.threads.count < Self.threadLimit, !state.isStopping,
                let thread = try? thread()
            {
                state.threads.append(thread)
            }
        }
        lead.signal()
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
