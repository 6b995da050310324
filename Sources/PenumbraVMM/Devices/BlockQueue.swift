// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Synchronization

/// Serves a disk's ring with threads of its own (see LeadThreads). For a host that has the data in memory
/// nearly everything needs no waiting.
final class BlockQueue: DeviceQueue, Sendable {
    let threads: QueueThreads
    private let service: BlockService
    private let channel: EventChannel
    private let ring: Mutex<BackRing>

    init(
        _ service: BlockService, _ ring: BackRing, _ channel: EventChannel, name: String, changed: Descriptor
    ) throws {
        (self.service, self.channel) = (service, channel)
        self.ring = Mutex(ring)
        threads = try QueueThreads(changed: changed)
        try threads.start(name: name, role: .disk) { try self.lead() }
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
        while !threads.isStopping {
            if let request = try ring.withLock({ try $0.take() }) { return BlockRequest(request) }
            if try !ring.withLock({ try $0.awaitRequests() }) {
                Descriptor.wait(readable: [channel.event, threads.stopping])
                channel.event.takeEvent()
            }
        }
        return nil
    }

    private func answer(_ request: BlockRequest, _ status: BlockRequest.Status) throws {
        let isAwaited = try ring.withLock { ring in
            try ring.answer(request.response(status))
            return try ring.publish()
        }
        if isAwaited { try channel.notifyGuest() }
    }
}
