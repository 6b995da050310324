// SPDX-License-Identifier: Apache-2.0

/// A container's id: 64 hexadecimal digits that nobody chose. Any unique beginning of it names the
/// container too.
public struct ContainerID: Equatable, Hashable, Sendable, CustomStringConvertible {
    public static let length = 64
    private static let digits = Array("0123456789abcdef")

    public let text: String

    public var description: String { text }

    /// What lists show.
    public var short: String { String(text.prefix(12)) }

    public init?(_ text: String) {
        guard text.utf8.count == Self.length, text.allSatisfy(Self.digits.contains) else { return nil }
        self.text = text
    }

    public static func random() -> ContainerID {
        ContainerID(trusted: String((0..<length).map { _ in digits.randomElement()! }))
    }

    private init(trusted text: String) { self.text = text }
}

/// A container's name: unique among a user's containers.
public struct ContainerName: Equatable, Hashable, Sendable, CustomStringConvertible {
    public let text: String

    public var description: String { text }

    private static let lengths = 2...128

    /// Letters and digits, and behind the first of them '_', '.' and '-'.
    public init(_ text: String) throws(ContainerError) {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: false
            }
        }
        guard Self.lengths.contains(text.utf8.count), let first = text.utf8.first, isAlphanumeric(first),
            text.utf8.allSatisfy({ isAlphanumeric($0) || "_.-".utf8.contains($0) })
        else { throw .badName(text) }
        self.text = text
    }

    /// For a container that nobody named; a user soon has two of the same, and then takes another.
    public static func random() -> ContainerName {
        ContainerName(trusted: "\(qualities.randomElement()!)_\(shades.randomElement()!)")
    }

    private init(trusted text: String) { self.text = text }

    private static let qualities = [
        "amber", "ancient", "autumn", "calm", "clear", "cool", "deep", "distant", "early", "faint", "fresh",
        "gentle", "golden", "green", "hidden", "hollow", "late", "light", "long", "lunar", "mild", "misty",
        "narrow", "noble", "northern", "pale", "patient", "plain", "polar", "quiet", "rapid", "round",
        "silent",
        "silver", "slow", "soft", "solar", "southern", "steady", "still", "summer", "tall", "tidal", "violet",
        "warm", "wide", "winter", "young",
    ]
    private static let shades = [
        "arch", "aspen", "basin", "beacon", "birch", "bridge", "brook", "canyon", "cedar", "cliff", "cloud",
        "coast", "comet", "corona", "cove", "crater", "creek", "delta", "dune", "eclipse", "elm", "fern",
        "field", "fjord", "forest", "glacier", "grove", "harbor", "heath", "hill", "island", "lagoon", "lake",
        "maple", "meadow", "mesa", "moon", "oak", "orbit", "peak", "pine", "reef", "ridge", "river", "shadow",
        "shore", "spring", "valley",
    ]
}
