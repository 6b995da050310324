// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// The guest's second console, hvc1, while both halves of it are connected. The guest grants the ring's
/// page and names the port (Linux' drivers/tty/hvc/hvc_xen.c, xencons_connect_backend).
struct ConsoleLink {
    static let nodes = XenDeviceNodes(kind: "console", number: 1)

    let channel: EventChannel
    let ring: ConsoleRing
    /// The ring is the guest's again when nobody holds this any more.
    private let page: GrantMapping

    init(
        _ store: XenStore, _ grants: GrantTable, open: (_ port: UInt32) throws -> EventChannel
    ) throws {
        page = try grants.map(try Self.nodes.required("ring-ref", in: store), for: .readAndWrite)
        channel = try open(try Self.nodes.required("port", in: store))
        ring = ConsoleRing(memory: page.ram, frame: page.frame)
        // The guest may have written before anybody listened, and does not tell twice. (The rings of
        // other devices are looked at before they are waited for.)
        channel.event.signalEvent()
    }
}
