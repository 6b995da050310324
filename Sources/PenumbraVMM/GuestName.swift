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
        guard isSound, Self.lengths.contains(text.utf8.count) else { throw .badName(text) }
        self.text = text
    }
}
