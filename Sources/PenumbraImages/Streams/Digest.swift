// SPDX-License-Identifier: Apache-2.0

/// The SHA-256 of some content, by which the store knows it (OCI image specification, "Digests").
public struct Digest: Hashable, Sendable, CustomStringConvertible {
    private static let prefix = "sha256:"
    private static let length = 64

    /// 64 lower-case hexadecimal digits.
    public let hexadecimal: String

    init(bytes: [UInt8]) {
        hexadecimal = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// "sha256:" and the digits; nil for anything else, other algorithms included.
    public init?(_ text: some StringProtocol) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        self.init(hexadecimal: text.dropFirst(Self.prefix.count))
    }

    public init?(hexadecimal digits: some StringProtocol) {
        guard digits.utf8.count == Self.length, digits.utf8.allSatisfy(Self.isDigit) else { return nil }
        hexadecimal = String(digits)
    }

    static func isDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): true
        default: false
        }
    }

    public var description: String { Self.prefix + hexadecimal }

    /// As lists show it.
    public var short: String { String(hexadecimal.prefix(12)) }

    static func of(_ bytes: [UInt8]) -> Digest {
        var hash = SHA256()
        hash.update(bytes)
        return hash.finished()
    }
}
