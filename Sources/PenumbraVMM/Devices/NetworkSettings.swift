// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// An Ethernet address.
public struct MACAddress: Equatable, Sendable, CustomStringConvertible {
    public let bytes: [UInt8]

    /// One of those that Xen's guests have (the identifier is Xen's), random in its last three bytes.
    public static func random() -> MACAddress {
        MACAddress(bytes: [0x00, 0x16, 0x3e] + (0..<3).map { _ in UInt8.random(in: 0...255) })
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    public var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }
}

/// A guest's network interface, its first.
public struct NetworkSettings: Sendable {
    public var address: MACAddress
    /// A stream socket to whoever is at the cable's other end, such as passt(1): each frame behind its length
    /// in four bytes, the first the highest. The peer takes TCP segments of any size that fit into 64 KiB
    /// of IP packet, whatever MTU the guest's interface has, and need not look at their checksums.
    public var peer: Descriptor

    public init(address: MACAddress = .random(), peer: Descriptor) {
        (self.address, self.peer) = (address, peer)
    }
}
