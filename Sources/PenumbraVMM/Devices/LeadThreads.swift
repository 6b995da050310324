// SPDX-License-Identifier: Apache-2.0
import PenumbraJail
import PenumbraSystem
import Synchronization

/// Threads of a device, of which one leads: it finds out what is to be done, and does at once what needs
/// no waiting, so that no other thread must be woken for it. Before it does what may wait it hands the
/// lead on: to a thread that has none, or to a new one.
final class LeadThreads: Sendable {
    typealias Work = @Sendable () throws -> Void

    private struct State {
        var threads: [SystemThread] = []
        /// Threads that have not ended, and those of them that wait for the lead.
        var running = 0
        var idle = 0
        var isStopping = false
    }

    private let name: String
    private let role: ThreadRole
    private let limit: Int
    private let lead: @Sendable () throws -> Work?
    private let failed: @Sendable (any Error) -> Void
    private let ended: @Sendable () -> Void
    private let turn = Semaphore(1)
    private let state = Mutex(State())

    /// With up to `limit` threads. `lead` waits for work that may wait, and returns it; nil: it is the
    /// end, which comes when `stop` has been called or `failed` was: with what `lead` or a work threw.
    /// `ended` is called by the last thread, which does nothing more then.
    init(
        name: String, role: ThreadRole, limit: Int, lead: @escaping @Sendable () throws -> Work?,
        failed: @escaping @Sendable (any Error) -> Void, ended: @escaping @Sendable () -> Void
    ) throws {
        (self.name, self.role, self.limit, self.lead) = (name, role, limit, lead)
        (self.failed, self.ended) = (failed, ended)
        try state.withLock { state in try addThread(&state) }
    }

    /// Has the threads end, which end what they began first. Whoever leads must have been told.
    func stop() { state.withLock { $0.isStopping = true } }

    var hasEnded: Bool { state.withLock { $0.running == 0 } }

    func join() {
        let threads = state.withLock { state in
            defer { state.threads.removeAll() }
            return state.threads
        }
        for thread in threads { thread.join() }
    }

    private func addThread(_ state: inout State) throws {
        let thread = try SystemThread(name: name) {
            self.role.confine()
            self.run()
        }
        state.threads.append(thread)
        state.running += 1
    }

    private func run() {
        do {
            while let work = try takeLead() { try work() }
        } catch {
            state.withLock { $0.isStopping = true }
            failed(error)
        }
        // Whoever waits for the lead finds the end as well.
        turn.signal()
        let isLast = state.withLock { state in
            state.running -= 1
            return state.running == 0
        }
        if isLast { ended() }
    }

    private func takeLead() throws -> Work? {
        state.withLock { $0.idle += 1 }
        turn.wait()
        state.withLock { $0.idle -= 1 }
        guard let work = try lead() else { return nil }
        handOn()
        return work
    }

    private func handOn() {
        state.withLock { state in
            // A host without threads to give has the lead wait for the next that comes back.
            guard state.idle == 0, state.threads.count < limit, !state.isStopping else { return }
            try? addThread(&state)
        }
        turn.signal()
    }
}
