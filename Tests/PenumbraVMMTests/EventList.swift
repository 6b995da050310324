// SPDX-License-Identifier: Apache-2.0
import Synchronization

@testable import PenumbraVMM

/// Keeps what an AgentLink tells.
final class EventList: Sendable {
    private let events = Mutex<[AgentEvent]>([])

    var all: [AgentEvent] { events.withLock { $0 } }

    func append(_ event: AgentEvent) { events.withLock { $0.append(event) } }
}
