// SPDX-License-Identifier: Apache-2.0

extension JSON {
    /// Where a text is no JSON, and why.
    public struct Problem: Error, Equatable, CustomStringConvertible {
        public let offset: Int
        public let reason: String

        public var description: String { "no JSON: \(reason) at byte \(offset)" }
    }

    /// Reads one value, and nothing after it but white space. The bytes may be anybody's: nesting is
    /// bounded, and an object that names a member twice is refused, since readers differ in which one
    /// they take.
    public init(parsing bytes: [UInt8]) throws(Problem) {
        var parser = JSONParser(bytes)
        self = try parser.document()
    }
}

/// A recursive descent over the bytes, a function for each production of the grammar.
private struct JSONParser {
    /// Levels of arrays and objects; those that people write have a dozen.
    private static let maximumDepth = 64

    private let bytes: [UInt8]
    private var position = 0
    private var depth = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(JSON.Problem) -> JSON {
        let value = try value()
        skipSpace()
        guard position == bytes.count else { throw problem("more follows the value") }
        return value
    }

    private func problem(_ reason: String) -> JSON.Problem { JSON.Problem(offset: position, reason: reason) }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func value() throws(JSON.Problem) -> JSON {
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try nested { parser throws(JSON.Problem) in try parser.object() }
        case UInt8(ascii: "["): return try nested { parser throws(JSON.Problem) in try parser.array() }
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .boolean(true))
        case UInt8(ascii: "f"): return try word("false", .boolean(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw problem("a value is missing")
        default: return try number()
        }
    }

    private mutating func nested(
        _ body: (inout JSONParser) throws(JSON.Problem) -> JSON
    ) throws(JSON.Problem) -> JSON {
        guard depth < Self.maximumDepth else { throw problem("nested too deep") }
        depth += 1
        position += 1
        let value = try body(&self)
        depth -= 1
        return value
    }

    private mutating func array() throws(JSON.Problem) -> JSON {
        var values: [JSON] = []
        skipSpace()
        if take("]") { return .array([]) }
        repeat {
            values.append(try value())
            skipSpace()
        } while take(",")
        guard take("]") else { throw problem("',' or ']' is missing") }
        return .array(values)
    }

    private mutating func object() throws(JSON.Problem) -> JSON {
        var members: [JSON.Member] = []
        var names: Set<String> = []
        skipSpace()
        if take("}") { return .members([]) }
        repeat {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw problem("a member's name is missing") }
            let name = try string()
            guard names.insert(name).inserted else { throw problem("a second member '\(name)'") }
            skipSpace()
            guard take(":") else { throw problem("':' is missing") }
            members.append(JSON.Member(name: name, value: try value()))
            skipSpace()
        } while take(",")
        guard take("}") else { throw problem("',' or '}' is missing") }
        return .members(members)
    }

    private mutating func word(_ word: StaticString, _ value: JSON) throws(JSON.Problem) -> JSON {
        let expected = Array(String(describing: word).utf8)
        guard bytes[position...].starts(with: expected) else { throw problem("an unknown word") }
        position += expected.count
        return value
    }

    private mutating func number() throws(JSON.Problem) -> JSON {
        let start = position
        _ = take("-")
        let leadingZero = next == UInt8(ascii: "0")
        guard let digits = takeDigits(), digits == 1 || !leadingZero else {
            throw problem("an unknown value")
        }
        if take("."), takeDigits() == nil { throw problem("digits are missing") }
        if take("e") || take("E") {
            if !take("-") { _ = take("+") }
            if takeDigits() == nil { throw problem("digits are missing") }
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        return UInt64(text).map(JSON.number) ?? .decimal(text)
    }

    /// How many there were; nil for none.
    private mutating func takeDigits() -> Int? {
        let start = position
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        return position > start ? position - start : nil
    }

    private mutating func string() throws(JSON.Problem) -> String {
        position += 1
        var text: [UInt8] = []
        while let byte = next, byte != UInt8(ascii: "\"") {
            guard byte >= 0x20 else { throw problem("a control character in a string") }
            position += 1
            if byte == UInt8(ascii: "\\") {
                text += Array(String(try escaped()).utf8)
            } else {
                text.append(byte)
            }
        }
        guard take("\"") else { throw problem("a string does not end") }
        guard let string = String(validating: text, as: UTF8.self) else {
            throw problem("a string is no UTF-8")
        }
        return string
    }

    private mutating func escaped() throws(JSON.Problem) -> Unicode.Scalar {
        guard let byte = next else { throw problem("a string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try unicodeEscape()
        default: throw problem("an unknown escape")
        }
    }

    /// Half of a surrogate pair without the other stands for nothing: U+FFFD.
    private mutating func unicodeEscape() throws(JSON.Problem) -> Unicode.Scalar {
        let first = try fourDigits()
        if let scalar = Unicode.Scalar(first) { return scalar }
        let behind = position
        if first < 0xdc00, take("\\"), take("u") {
            let second = try fourDigits()
            if (0xdc00..<0xe000).contains(second),
                let scalar = Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
            {
                return scalar
            }
        }
        position = behind
        return "\u{fffd}"
    }

    private mutating func fourDigits() throws(JSON.Problem) -> UInt32 {
        var number: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80
            else { throw problem("four hexadecimal digits are missing") }
            number = number << 4 | UInt32(digit)
            position += 1
        }
        return number
    }
}
