// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraSystem

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
