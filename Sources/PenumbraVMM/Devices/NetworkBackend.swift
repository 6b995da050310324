// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem

/// The host's half of a network interface (Xen's public/io/netif.h, kind "vif"); Linux' other half is
/// drivers/net/xen-netfront.c.
final class NetworkBackend: XenBackend {
    struct NoCopying: Error, CustomStringConvertible {
        let description = "the guest's driver does not take frames that are copied into its pages"
    }

    let nodes: XenDeviceNodes
    private let link: NetworkQueue.Link
    private let grants: GrantTable
    private let open: (_ port: UInt32) throws -> EventChannel
    private let failedEvent: Descriptor
    private var queue: NetworkQueue?

    init(
        _ settings: NetworkSettings, grants: GrantTable,
        open: @escaping (_ port: UInt32) throws -> EventChannel
    ) throws {
        let address = String(describing: settings.address)
        nodes = XenDeviceNodes(
            kind: "vif", number: 0, label: "network",
            frontendKeys: [("mac", address), ("handle", "0")],
            backendKeys: [
                ("mac", address), ("handle", "0"), ("feature-rx-copy", "1"), ("feature-sg", "1"),
                ("feature-gso-tcpv4", "1"), ("feature-gso-tcpv6", "1"), ("feature-ipv6-csum-offload", "1"),
            ])
        link = NetworkQueue.Link(settings.peer)
        (self.grants, self.open) = (grants, open)
        failedEvent = try EventDescriptor.open()
    }

    var isConnected: Bool { queue != nil }
    var changed: Descriptor? { failedEvent }
    var failure: String? { queue?.failure }

    func connect(_ store: XenStore) throws {
        guard nodes.number("request-rx-copy", in: store) == 1 else { throw NoCopying() }
        let transmit = try grants.map(try nodes.required("tx-ring-ref", in: store), for: .readAndWrite)
        let receive = try grants.map(try nodes.required("rx-ring-ref", in: store), for: .readAndWrite)
        queue = try NetworkQueue(
            link, NetworkTransmit(BackRing(transmit, slotSize: NetworkTransmit.slotSize), grants: grants),
            NetworkReceive(BackRing(receive, slotSize: NetworkReceive.slotSize), grants: grants),
            try open(try nodes.required("event-channel", in: store)), failed: failedEvent)
    }

    /// Its thread waits for nothing but its sockets.
    func disconnect() -> Bool {
        queue?.stop()
        queue = nil
        return true
    }

    deinit { queue?.stop() }
}
