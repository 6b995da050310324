// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// A value to print as JSON (RFC 8259).
indirect enum JSON: Equatable {
    case string(String)
    case number(UInt64)
    case boolean(Bool)
    case array([JSON])
    case members([Member])

    struct Member: Equatable {
        let name: String
        let value: JSON
    }

    static func object(_ members: [(String, JSON)]) -> JSON {
        .members(members.map { Member(name: $0.0, value: $0.1) })
    }

    var text: String {
        switch self {
        case .string(let value): Self.quoted(value)
        case .number(let value): String(value)
        case .boolean(let value): String(value)
        case .array(let values): "[" + values.map(\.text).joined(separator: ",") + "]"
        case .members(let members):
            "{" + members.map { Self.quoted($0.name) + ":" + $0.value.text }.joined(separator: ",") + "}"
        }
    }

    /// As a line for people shows it.
    var plain: String {
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

/// `--format text|json`, for every verb that prints facts.
struct FormatOption: ParsableArguments {
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case text, json
    }

    @Option(help: "How to print.")
    var format = Format.text

    func print(_ fields: [(String, JSON)]) throws {
        switch format {
        case .json: try write(JSON.object(fields).text)
        case .text: try write(fields.map { "\($0.0): \($0.1.plain)" }.joined(separator: "\n"))
        }
    }

    func write(_ text: String) throws { try Output.standard.write(Array((text + "\n").utf8)) }
}
