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
        /// Threads that wait for the lead.
        var idle = 0
        var isStopping = false
    }

    private let name: String
    private let role: ThreadRole
    private let limit: Int
    private let lead: @Sendable () throws -> Work?
    private let failed: @Sendable (any Error) -> Void
    private let turn = Semaphore(1)
    private let state = Mutex(State())

    /// With up to `limit` threads. `lead` waits for work that may wait, and returns it; nil: it is the
    /// end, which comes when `stop` has been called or `failed` was: with what `lead` or a work threw.
    init(
        name: String, role: ThreadRole, limit: Int, lead: @escaping @Sendable () throws -> Work?,
        failed: @escaping @Sendable (any Error) -> Void
    ) throws {
        (self.name, self.role, self.limit) = (name, role, limit)
        (self.lead, self.failed) = (lead, failed)
        try state.withLock { state in state.threads.append(try thread()) }
    }

    /// Ends the threads, which end what they began. Whoever leads must have been told.
    func stop() {
        let threads = state.withLock { state in
            state.isStopping = true
            defer { state.threads.removeAll() }
            return state.threads
        }
        for thread in threads { thread.join() }
    }

    private func thread() throws -> SystemThread {
        try SystemThread(name: name) {
            self.role.confine()
            self.run()
        }
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
            if state.idle == 0, state.threads.count < limit, !state.isStopping, let thread = try? thread() {
                state.threads.append(thread)
            }
        }
        turn.signal()
    }
}
