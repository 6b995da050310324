// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem

/// The host's half of a disk (Xen's public/io/blkif.h, kind "vbd"); Linux' other half is
/// drivers/block/xen-blkfront.c.
final class BlockBackend: XenBackend {
    struct UnknownProtocol: Error, CustomStringConvertible {
        let name: String

        var description: String { "the guest's driver speaks '\(name)', not the protocol of 64-bit guests" }
    }

    struct RingTooLarge: Error, CustomStringConvertible {
        let order: UInt32

        var description: String { "the guest's driver wants a ring of 2^\(order) pages" }
    }

    /// A ring has up to 2^this pages.
    private static let ringOrderLimit: UInt32 = 4
    private static let protocolName = "x86_64-abi"

    let nodes: XenDeviceNodes
    private let name: String
    private let service: BlockService
    private let grants: GrantTable
    private let open: (_ port: UInt32) throws -> EventChannel
    private let holder: QueueHolder<BlockQueue>

    init(
        _ disk: DiskFile, grants: GrantTable, report: @escaping @Sendable (String) -> Void,
        open: @escaping (_ port: UInt32) throws -> EventChannel
    ) throws {
        name = disk.disk.name
        nodes = Self.nodes(of: disk)
        service = BlockService(disk, grants: grants, report: report)
        (self.grants, self.open) = (grants, open)
        holder = try QueueHolder()
    }

    /// All that the guest's half is to know is there from the start.
    private static func nodes(of disk: DiskFile) -> XenDeviceNodes {
        let number = disk.disk.number
        let isReadOnly = disk.disk.isReadOnly
        let size: XenDeviceNodes.Keys = [
            ("sectors", String(disk.sectors)), ("sector-size", String(DiskFile.sectorSize)),
            // What the host's memory is written back in: smaller writes are read first.
            ("physical-sector-size", String(PENUMBRA_PAGE_SIZE)),
            // Bit 2: VDISK_READONLY.
            ("info", isReadOnly ? "4" : "0"), ("mode", isReadOnly ? "r" : "w"),
        ]
        let features: XenDeviceNodes.Keys = [
            ("feature-flush-cache", "1"), ("max-ring-page-order", String(ringOrderLimit)),
            ("feature-max-indirect-segments", String(BlockRequest.indirectSegments)),
            // Grants cost nothing to map here, and a guest that kept them would copy all data.
            ("feature-persistent", "0"),
        ]
        let discard: XenDeviceNodes.Keys = [
            ("feature-discard", "1"), ("discard-granularity", String(disk.blockSize)),
            ("discard-alignment", "0"), ("discard-secure", "0"),
        ]
        return XenDeviceNodes(
            kind: "vbd", number: number, label: "disk \(disk.disk.name)",
            frontendKeys: [("virtual-device", String(number)), ("device-type", "disk")],
            backendKeys: size + features + (isReadOnly ? [] : discard))
    }

    var isConnected: Bool { holder.isConnected }
    var isLeaving: Bool { holder.isLeaving }
    var changed: Descriptor? { holder.changed }
    var failure: String? { holder.failure }

    func connect(_ store: XenStore) throws {
        if let name = nodes.text("protocol", in: store), name != Self.protocolName {
            throw UnknownProtocol(name: name)
        }
        let page = try grants.map(ringReferences(in: store), for: .readAndWrite)
        let channel = try open(try nodes.required("event-channel", in: store))
        holder.hold(
            try BlockQueue(
                service, BackRing(page, slotSize: BlockRequest.slotSize), channel, name: name,
                changed: holder.changed))
    }

    /// One page's, or each of several.
    private func ringReferences(in store: XenStore) throws -> [UInt32] {
        guard let order = nodes.number("ring-page-order", in: store), order > 0 else {
            return [try nodes.required("ring-ref", in: store)]
        }
        guard order <= Self.ringOrderLimit else { throw RingTooLarge(order: order) }
        return try (0..<(1 << order)).map { try nodes.required("ring-ref\($0)", in: store) }
    }

    func disconnect() -> Bool { holder.disconnect() }
}
