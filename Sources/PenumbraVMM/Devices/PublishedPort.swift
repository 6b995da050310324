// SPDX-License-Identifier: Apache-2.0

/// A port of the host's that leads to one of a guest's.
public struct PublishedPort: Equatable, Sendable, CustomStringConvertible {
    public enum Transport: String, Sendable {
        case tcp, udp
    }

    /// nil: all addresses of the host.
    public var address: String?
    public var host: UInt16
    public var guest: UInt16
    public var transport: Transport

    /// [ADDRESS:]HOST:GUEST[/tcp|/udp], an IPv6 address in brackets; nil: it is something else.
    public init?(_ text: String) {
        let halves = text.split(separator: "/", omittingEmptySubsequences: false)
        let kind = halves.count == 2 ? String(halves[1]) : Transport.tcp.rawValue
        guard halves.count <= 2, let transport = Transport(rawValue: kind) else { return nil }
        var parts = halves[0].split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count >= 2, let guest = Self.port(parts.removeLast()),
            let host = Self.port(parts.removeLast())
        else { return nil }
        (self.transport, self.guest, self.host) = (transport, guest, host)
        guard !parts.isEmpty else { return }
        guard let address = Self.plain(parts.joined(separator: ":")) else { return nil }
        self.address = address
    }

    private static func port(_ text: Substring) -> UInt16? { UInt16(text).flatMap { $0 > 0 ? $0 : nil } }

    /// Only what addresses are made of: the rest has a meaning to passt(1).
    private static func plain(_ address: String) -> String? {
        let isBracketed = address.hasPrefix("[") && address.hasSuffix("]")
        let plain = isBracketed ? String(address.dropFirst().dropLast()) : address
        guard !plain.isEmpty, plain.contains(":") == isBracketed,
            plain.allSatisfy({ $0.isASCII && ($0.isHexDigit || $0 == "." || $0 == ":") })
        else { return nil }
        return plain
    }

    public var description: String {
        let place = address.map { $0.contains(":") ? "[\($0)]:" : "\($0):" } ?? ""
        return "\(place)\(host):\(guest)/\(transport.rawValue)"
    }
}
