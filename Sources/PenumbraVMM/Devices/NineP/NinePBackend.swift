// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem

/// The host's half of a share (Xen's docs/misc/9pfs.pandoc, kind "9pfs"); Linux' other half is
/// net/9p/trans_xen.c.
final class NinePBackend: XenBackend {
    struct UnknownVersion: Error, CustomStringConvertible {
        let version: String

        var description: String {
            "the guest's driver speaks version '\(version)', not \(NinePBackend.version)"
        }
    }

    struct BadRingCount: Error, CustomStringConvertible {
        let count: UInt32

        var description: String {
            "the guest's driver wants \(count) rings: 1 to \(NinePBackend.ringLimit) are possible"
        }
    }

    fileprivate static let version = "1"
    /// Linux takes two, and the device only if it can have that many.
    fileprivate static let ringLimit: UInt32 = 4

    let nodes: XenDeviceNodes
    private let directory: SharedDirectory
    private let grants: GrantTable
    private let open: (_ port: UInt32) throws -> EventChannel
    private let holder: QueueHolder<NinePQueue>

    /// `number`: among the guest's shares.
    init(
        _ directory: SharedDirectory, number: Int, grants: GrantTable,
        open: @escaping (_ port: UInt32) throws -> EventChannel
    ) throws {
        (self.directory, self.grants, self.open) = (directory, grants, open)
        nodes = XenDeviceNodes(
            kind: "9pfs", number: number, label: "share \(directory.share.tag)",
            frontendKeys: [("tag", directory.share.tag)],
            backendKeys: [
                ("versions", Self.version), ("max-rings", String(Self.ringLimit)),
                ("max-ring-page-order", String(NinePRing.orders.upperBound)),
            ])
        holder = try QueueHolder()
    }

    var isConnected: Bool { holder.isConnected }
    var isLeaving: Bool { holder.isLeaving }
    var changed: Descriptor? { holder.changed }
    var failure: String? { holder.failure }

    func connect(_ store: XenStore) throws {
        let version = nodes.text("version", in: store) ?? ""
        guard version == Self.version else { throw UnknownVersion(version: version) }
        let count = try nodes.required("num-rings", in: store)
        guard (1...Self.ringLimit).contains(count) else { throw BadRingCount(count: count) }
        let rings = try (0..<count).map { index in
            try NinePRing(try nodes.required("ring-ref\(index)", in: store), of: grants)
        }
        let channels = try (0..<count).map { index in
            try open(try nodes.required("event-channel-\(index)", in: store))
        }
        // A message must have room in any of them.
        let limit = rings.map(\.size).min() ?? 0
        holder.hold(
            try NinePQueue(
                NinePServer(directory, messageLimit: limit), rings, channels, name: nodes.label,
                changed: holder.changed))
    }

    func disconnect() -> Bool { holder.disconnect() }
}
