// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// The back end of a guest's second console, hvc1, which carries the bytes of an AgentLink.
final class AgentConsole: XenBackend, GuestDevice {
    let nodes = ConsoleLink.nodes
    private let agent: AgentLink
    private let grants: GrantTable
    private let open: (_ port: UInt32) throws -> EventChannel
    private var link: ConsoleLink?

    init(_ agent: AgentLink, grants: GrantTable, open: @escaping (_ port: UInt32) throws -> EventChannel) {
        (self.agent, self.grants, self.open) = (agent, grants, open)
    }

    // MARK: Xenbus

    var isConnected: Bool { link != nil }

    func connect(_ store: XenStore) throws { link = try ConsoleLink(store, grants, open: open) }

    func disconnect() -> Bool {
        link = nil
        return true
    }

    // MARK: Bytes

    var descriptors: [Descriptor] { [agent.wake, link?.channel.event].compactMap { $0 } }

    func serve(_ ready: Descriptor) throws -> GuestOutcome? {
        ready.takeEvent()
        guard let link else { return nil }
        do {
            let bytes = try link.ring.takeOutput()
            if !bytes.isEmpty { agent.receive(bytes) }
            let sent = try agent.flush(link.ring.put)
            if !bytes.isEmpty || sent > 0 { try link.channel.notifyGuest() }
        } catch is SharedRing.BadIndices {
            self.link = nil
            agent.lose("the guest made nonsense of the ring that its agent is reached by")
        }
        return nil
    }
}
