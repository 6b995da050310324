// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Serves a device's rings with threads of its own.
protocol DeviceQueue: AnyObject {
    var threads: QueueThreads { get }
}

extension DeviceQueue {
    /// Why nothing is served any more; nil: it is.
    var failure: String? { threads.failure }
}

/// A back end's queue while there is one, and while it ends: a thread may be in a call of the host's that
/// takes long, or never returns, and whoever runs the VM does not wait for it.
final class QueueHolder<Queue: DeviceQueue> {
    /// For the queue to signal when it has failed, and when it has ended.
    let changed: Descriptor
    private(set) var isLeaving = false
    private var queue: Queue?

    init() throws(SystemError) { changed = try EventDescriptor.open() }

    var isConnected: Bool { queue != nil }
    var failure: String? { isLeaving ? nil : queue?.failure }

    func hold(_ queue: Queue) { self.queue = queue }

    /// Says whether nothing is left.
    func disconnect() -> Bool {
        guard let queue else { return true }
        if !isLeaving { queue.threads.stop() }
        isLeaving = !queue.threads.hasEnded
        guard !isLeaving else { return false }
        // Its threads have nothing left to do but to let go of the queue, and that of the guest's pages.
        queue.threads.join()
        self.queue = nil
        return true
    }

    /// What a thread is still at keeps what it needs.
    deinit { queue?.threads.stop() }
}
