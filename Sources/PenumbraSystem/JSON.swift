// SPDX-License-Identifier: Apache-2.0

/// A value of JSON (RFC 8259). Objects keep the order of their members.
public indirect enum JSON: Equatable, Sendable {
    case null
    case string(String)
    case number(UInt64)
    /// A number that is negative, fractional or above 64 bits: its digits, as they were written.
    case decimal(String)
    case boolean(Bool)
    case array([JSON])
    case members([Member])

    public struct Member: Equatable, Sendable {
        public let name: String
        public let value: JSON
    }

    public static func object(_ members: [(String, JSON)]) -> JSON {
        .members(members.map { Member(name: $0.0, value: $0.1) })
    }

    /// Without white space.
    public var text: String {
        switch self {
        case .null: "null"
        case .string(let value): Self.quoted(value)
        case .number(let value): String(value)
        case .decimal(let digits): digits
        case .boolean(let value): String(value)
        case .array(let values): "[" + values.map(\.text).joined(separator: ",") + "]"
        case .members(let members):
            "{" + members.map { Self.quoted($0.name) + ":" + $0.value.text }.joined(separator: ",") + "}"
        }
    }

    /// On lines of its own, each level indented by four more spaces.
    public var indented: String { indented(after: "") }

    private func indented(after margin: String) -> String {
        let inner = margin + "    "
        switch self {
        case .array(let values) where !values.isEmpty:
            let lines = values.map { inner + $0.indented(after: inner) }
            return "[\n" + lines.joined(separator: ",\n") + "\n" + margin + "]"
        case .members(let members) where !members.isEmpty:
            let lines = members.map { inner + Self.quoted($0.name) + ": " + $0.value.indented(after: inner) }
            return "{\n" + lines.joined(separator: ",\n") + "\n" + margin + "}"
        default: return text
        }
    }

    /// As a line for people shows it.
    public var plain: String {
        if case .string(let value) = self { value } else { text }
    }

    private static func quoted(_ value: String) -> String {
        var text = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}

/// What a value holds, or nil if it is of another kind.
extension JSON {
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var number: UInt64? { if case .number(let value) = self { value } else { nil } }
    public var boolean: Bool? { if case .boolean(let value) = self { value } else { nil } }
    public var array: [JSON]? { if case .array(let values) = self { values } else { nil } }
    public var members: [Member]? { if case .members(let members) = self { members } else { nil } }

    /// The member of that name; nil also where this is no object, or the member is null.
    public subscript(_ name: String) -> JSON? {
        let value = members?.first { $0.name == name }?.value
        return value == .null ? nil : value
    }
}
