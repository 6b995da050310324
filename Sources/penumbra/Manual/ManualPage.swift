// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraSystem

/// A page of the manual, in the macros of man(7).
struct ManualPage {
    /// "penumbra-image-pull"
    let name: String
    let text: String

    /// Of this program, and of each verb that its help shows.
    static func all() throws -> [ManualPage] { try pages(of: Penumbra.self, above: []) }

    private static func pages(of command: ParsableCommand.Type, above: [String]) throws -> [ManualPage] {
        let words = above + [commandName(command)]
        let verbs = command.configuration.subcommands.filter { $0.configuration.shouldDisplay }
        return try [page(of: command, words, verbs)] + verbs.flatMap { try pages(of: $0, above: words) }
    }

    private static func commandName(_ command: ParsableCommand.Type) -> String {
        // Each command of this program says it.
        command.configuration.commandName!
    }

    private static func page(
        of command: ParsableCommand.Type, _ words: [String], _ verbs: [ParsableCommand.Type]
    ) throws -> ManualPage {
        let name = words.joined(separator: "-")
        let configuration = command.configuration
        var page = Roff()
        page.request("TH", [name.uppercased(), "1", "", "penumbra \(VersionCommand.version)", "Penumbra"])
        page.request("SH", ["NAME"])
        // Without a full stop, as whatis(1) lists it.
        let abstract =
            configuration.abstract.hasSuffix(".")
            ? configuration.abstract.dropLast() : configuration.abstract[...]
        page.line("\(name) - \(abstract)")
        page.request("SH", ["SYNOPSIS"])
        page.request("nf")
        let usage = configuration.usage ?? Penumbra.usageString(for: command).replacing("Usage: ", with: "")
        for line in usage.split(separator: "\n") { page.line(line.drop { $0 == " " }) }
        page.request("fi")
        if !configuration.discussion.isEmpty {
            page.request("SH", ["DESCRIPTION"])
            page.paragraphs(configuration.discussion)
        }
        try page.arguments(of: command)
        page.verbs(verbs.map { (name + "-" + commandName($0), $0.configuration.abstract) })
        page.seeAlso(words)
        return ManualPage(name: name, text: page.text)
    }
}

/// Text in roff's language. A line that begins with a dot or an apostrophe is a request, and a backslash
/// an escape, unless they are told not to be.
struct Roff {
    private(set) var text = ""

    mutating func request(_ name: String, _ arguments: [String] = []) {
        let words = arguments.map { "\"\(Self.escaped($0).replacing("\"", with: "\\(dq"))\"" }
        text += ([".\(name)"] + words).joined(separator: " ") + "\n"
    }

    mutating func line(_ line: some StringProtocol) {
        let escaped = Self.escaped(String(line))
        text += (escaped.hasPrefix(".") || escaped.hasPrefix("'") ? "\\&" : "") + escaped + "\n"
    }

    mutating func paragraphs(_ text: String) {
        var isFirst = true
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.isEmpty { if !isFirst { request("PP") } } else { self.line(line) }
            isFirst = false
        }
    }

    /// Minus signs are those that a shell takes.
    private static func escaped(_ text: String) -> String {
        text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
    }
}

extension Roff {
    /// What ArgumentParser knows of a verb's arguments and options.
    fileprivate mutating func arguments(of command: ParsableCommand.Type) throws {
        let arguments =
            try JSON(parsing: Array(command._dumpHelp().utf8))["command"]?["arguments"]?.array ?? []
        let shown = arguments.filter { $0["shouldDisplay"]?.boolean ?? false }
        let positional = shown.filter { $0["kind"]?.string == "positional" }
        section("ARGUMENTS", positional) { "<\($0["valueName"]?.string ?? "")>" }
        section("OPTIONS", shown.filter { $0["kind"]?.string != "positional" }, Self.names)
    }

    private mutating func section(_ title: String, _ arguments: [JSON], _ head: (JSON) -> String) {
        guard !arguments.isEmpty else { return }
        request("SH", [title])
        for argument in arguments {
            request("TP")
            request("B", [head(argument)])
            let abstract = argument["abstract"]?.string ?? ""
            let byDefault = argument["defaultValue"]?.string.map { " (default: \($0))" } ?? ""
            line(abstract.split(separator: "\n").joined(separator: " ") + byDefault)
        }
    }

    /// "-n, --tail <tail>"
    private static func names(_ option: JSON) -> String {
        let names = (option["names"]?.array ?? []).map { name in
            (name["kind"]?.string == "long" ? "--" : "-") + (name["name"]?.string ?? "")
        }
        let value = option["kind"]?.string == "option" ? " <\(option["valueName"]?.string ?? "")>" : ""
        return names.joined(separator: ", ") + value
    }

    fileprivate mutating func verbs(_ verbs: [(name: String, abstract: String)]) {
        guard !verbs.isEmpty else { return }
        request("SH", ["COMMANDS"])
        for verb in verbs {
            request("TP")
            request("BR", [verb.name, "(1)"])
            line(verb.abstract)
        }
    }

    /// The page above.
    fileprivate mutating func seeAlso(_ words: [String]) {
        guard words.count > 1 else { return }
        request("SH", ["SEE ALSO"])
        request("BR", [words.dropLast().joined(separator: "-"), "(1)"])
    }
}
