// SPDX-License-Identifier: Apache-2.0
import PenumbraJail
import PenumbraSystem
import Synchronization

/// The threads of a queue (see LeadThreads) from their start to their end, which the queue's user asks
/// for, or which comes of what the guest did.
final class QueueThreads: Sendable {
    private static let limit = 8

    private struct State {
        var threads: LeadThreads?
        var isStopping = false
        var failure: String?
    }

    /// Readable from the moment that the threads are to end.
    let stopping: Descriptor
    private let changed: Descriptor
    private let state = Mutex(State())

    /// `changed`, an EventDescriptor, is signalled when the guest made nonsense of a ring (see `failure`),
    /// and at the end.
    init(changed: Descriptor) throws {
        self.changed = changed
        stopping = try EventDescriptor.open()
    }

    /// `lead` is LeadThreads'.
    func start(
        name: String, role: ThreadRole, lead: @escaping @Sendable () throws -> LeadThreads.Work?
    ) throws {
        let threads = try LeadThreads(
            name: name, role: role, limit: Self.limit, lead: lead, failed: { self.fail($0) },
            ended: { [changed] in changed.signalEvent() })
        state.withLock { $0.threads = threads }
    }

    /// Why nothing is served any more; nil: it is.
    var failure: String? { state.withLock { $0.failure } }

    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// Has the threads end once they have done what they began; does not wait for that.
    func stop() {
        let threads = state.withLock { state in
            state.isStopping = true
            return state.threads
        }
        stopping.signalEvent()
        threads?.stop()
    }

    /// Whether nothing more is done: `join` returns at once.
    var hasEnded: Bool { state.withLock { $0.threads }?.hasEnded ?? true }

    /// The threads know their queue, and it them: no more from here on.
    func join() {
        state.withLock { state in
            defer { state.threads = nil }
            return state.threads
        }?.join()
    }

    private func fail(_ error: any Error) {
        state.withLock { state in (state.isStopping, state.failure) = (true, "\(error)") }
        stopping.signalEvent()
        changed.signalEvent()
    }
}
