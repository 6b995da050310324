// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraSystem

/// `--format table|json|TEMPLATE`, for verbs that list things.
struct ListFormatOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "How to print: 'table', 'json' (an object a line), or a template such as '{{.ID}} {{.Size}}'."))
    var format = "table"

    func validate() throws { if !isFixed { _ = try OutputTemplate(format) } }

    private var isFixed: Bool { format == "table" || format == "json" }

    func write(_ values: [JSON], table: String) throws {
        switch format {
        case "table": try write([table])
        case "json": try write(values.map(\.text))
        default:
            let template = try OutputTemplate(format)
            try write(try values.map(template.text))
        }
    }

    func write(_ lines: [String]) throws {
        try Output.standard.write(Array(lines.map { $0 + "\n" }.joined().utf8))
    }
}

/// Text with places for values, "{{.Name}}", "{{.Config.User}}" or "{{json .Config}}": the part of Go's
/// templates that people use with docker.
struct OutputTemplate {
    private enum Part: Equatable {
        case text(String)
        case value(path: [String], isJSON: Bool)
    }

    private var parts: [Part] = []

    init(_ template: String) throws {
        var rest = Self.unescaped(template)[...]
        while let open = rest.firstRange(of: "{{") {
            parts.append(.text(String(rest[..<open.lowerBound])))
            guard let close = rest[open.upperBound...].firstRange(of: "}}") else {
                throw ValidationError("in --format '{{' lacks its '}}'")
            }
            parts.append(try Self.value(rest[open.upperBound..<close.lowerBound]))
            rest = rest[close.upperBound...]
        }
        parts.append(.text(String(rest)))
    }

    /// "\t" and "\n" are more easily typed so.
    private static func unescaped(_ text: String) -> String {
        text.split(separator: "\\t", omittingEmptySubsequences: false).joined(separator: "\t")
            .split(separator: "\\n", omittingEmptySubsequences: false).joined(separator: "\n")
    }

    private static func value(_ text: Substring) throws -> Part {
        var words = text.split(separator: " ")
        let isJSON = words.first == "json"
        if isJSON { words.removeFirst() }
        guard words.count == 1, let path = words.first, path.hasPrefix(".") else {
            throw ValidationError("--format knows '{{.Name}}' and '{{json .Name}}', not '{{\(text)}}'")
        }
        return .value(path: path.split(separator: ".").map(String.init), isJSON: isJSON)
    }

    func text(_ json: JSON) throws -> String {
        try parts.map { part in
            switch part {
            case .text(let text): text
            case .value(let path, let isJSON): try Self.text(json, path, isJSON)
            }
        }.joined()
    }

    private static func text(_ json: JSON, _ path: [String], _ isJSON: Bool) throws -> String {
        var value = json
        for name in path {
            guard let member = value.members?.first(where: { $0.name == name }) else {
                let known = (value.members ?? []).map(\.name).joined(separator: ", ")
                throw ValidationError("there is no '\(name)' for --format; there are: \(known)")
            }
            value = member.value
        }
        return isJSON ? value.text : value.plain
    }
}
