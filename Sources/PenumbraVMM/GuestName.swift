// SPDX-License-Identifier: Apache-2.0

/// A guest's name: something that can stand in xenstore, in a path and in a list.
public struct GuestName: Equatable, Sendable {
    public let text: String

    private static let lengths = 1...64

    public init(_ text: String) throws(VMMError) {
        let isSound = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "-_.".utf8.contains(byte)
            }
        }
        // No hidden file, no way up in a path, no option.
        let beginsWell = !text.hasPrefix(".") && !text.hasPrefix("-")
        guard isSound, beginsWell, Self.lengths.contains(text.utf8.count) else { throw .badName(text) }
        self.text = text
    }

    /// For a guest that nobody named.
    public static func random() -> GuestName {
        let digits = String(UInt32.random(in: 0...0xff_ffff), radix: 16)
        return GuestName(trusted: "vm-" + String(repeating: "0", count: 6 - digits.count) + digits)
    }

    private init(trusted text: String) { self.text = text }
}
