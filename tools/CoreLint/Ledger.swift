// SPDX-License-Identifier: Apache-2.0

/// What the rules write into: findings, and which exceptions were used.
struct Ledger {
    let allow: AllowList
    private(set) var findings: [Finding] = []
    private var used: Set<Int> = []

    init(allow: AllowList) { self.allow = allow }

    mutating func report(_ finding: Finding) { findings.append(finding) }

    /// Whether the allow file excuses `function`; `word` is looked up in the entry's list.
    mutating func excuses(_ kind: AllowList.Kind, _ function: Function, word: String? = nil) -> Bool {
        !entries(kind) { $0.covers(function) && (word.map($0.lists) ?? true) }.isEmpty
    }

    /// Whether the allow file excuses something that is named but is no function.
    mutating func excuses(_ kind: AllowList.Kind, named name: String) -> Bool {
        !entries(kind) { glob($0.subject, matches: name) }.isEmpty
    }

    /// The entries of one kind that match, marked as used.
    mutating func entries(
        _ kind: AllowList.Kind, where matches: (AllowList.Entry) -> Bool
    ) -> [AllowList.Entry] {
        let found = allow.entries.filter { $0.kind == kind && matches($0) }
        used.formUnion(found.map(\.line))
        return found
    }

    /// An exception that nothing needs hides the next mistake.
    mutating func reportUnusedExceptions() {
        for entry in allow.entries where !entry.isOptional && !used.contains(entry.line) {
            report(
                Finding(
                    .allowFile,
                    "line \(entry.line): `\(entry.kind.rawValue)` for `\(entry.subject)` matches nothing",
                    remedy: "remove the line, or write `\(entry.kind.rawValue)?` if only some builds need it")
            )
        }
    }
}
