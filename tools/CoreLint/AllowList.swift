// SPDX-License-Identifier: Apache-2.0

/// The exceptions to the rules, each with its reason: a text file, one exception a line.
///
///     # comment
///     limit frame 512
///     limit stack 8192
///     privileged mov-cr3,invlpg  ccore_* -- the seam: single privileged instructions
///     frame 768  Walker.walk(_:)  -- keeps a path of four levels on the stack
///     runtime? memset             -- only some builds call it
///
/// Functions are named as the report names them, or by their linker symbol; `*` stands for
/// any text. An exception that matches nothing is itself a finding, so the list cannot
/// outlive the code, unless a `?` follows its kind.
public struct AllowList: Sendable {
    public enum Kind: String, CaseIterable, Sendable {
        /// `privileged MNEMONICS FUNCTION`: comma-separated mnemonics, or `*`.
        case privileged
        /// `frame BYTES FUNCTION`: a frame larger than the general limit.
        case frame
        /// `stack BYTES FUNCTION`: runs on a stack of its own, of which it may use this much.
        case stack
        /// `fpu-state FUNCTION`: xsave, xrstor, xsetbv and their family.
        case fpuState = "fpu-state"
        /// `indirect FUNCTION`: may jump or call through a register.
        case indirect
        /// `indirect-target CALLER -> CALLEE`: what a call through a pointer may reach.
        case indirectTarget = "indirect-target"
        /// `stack-switch FUNCTION`: may load RSP with another stack.
        case stackSwitch = "stack-switch"
        /// `unbounded FUNCTION`: its frame has no size that the code tells.
        case unbounded
        /// `runtime SYMBOL`: may be called although its name says runtime or allocator.
        case runtime
        /// `section NAME`: may be writable.
        case section
        /// `entry-call SYMBOL`: entry text may call or jump to it.
        case entryCall = "entry-call"
        /// `entry-reference SYMBOL`: entry text may refer to it.
        case entryReference = "entry-reference"
        /// `thread-local FUNCTION`: may use %fs-relative operands.
        case threadLocal = "thread-local"
        /// `data SYMBOL`: a table among the code; what looks like instructions there is none.
        case data
    }

    struct Entry: Sendable {
        let kind: Kind
        let subject: String
        /// Mnemonics, bytes, or the callee of an indirect call.
        let detail: String
        let isOptional: Bool
        let line: Int
    }

    public private(set) var frameLimit = 512
    public private(set) var stackLimit = 8192
    private(set) var entries: [Entry] = []

    public init() {}

    public struct SyntaxError: Error, Equatable, CustomStringConvertible {
        let line: Int
        let problem: String
        public var description: String { "line \(line): \(problem)" }
    }

    public init(parsing text: String) throws(SyntaxError) {
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let body = String(line).trimmingSpaces
            if body.isEmpty || body.hasPrefix("#") { continue }
            try parse(body, line: index + 1)
        }
    }

    private mutating func parse(_ body: String, line: Int) throws(SyntaxError) {
        let words = body.split(separator: " ")
        if words.first == "limit" {
            try parseLimit(words, line: line)
            return
        }
        guard let separator = body.firstRange(of: " -- ") else {
            throw SyntaxError(line: line, problem: "no ` -- reason`; say why the exception is sound")
        }
        guard !String(body[separator.upperBound...]).trimmingSpaces.isEmpty else {
            throw SyntaxError(line: line, problem: "the reason is empty")
        }
        entries.append(try Self.entry(String(body[..<separator.lowerBound]).trimmingSpaces, line: line))
    }

    private mutating func parseLimit(_ words: [Substring], line: Int) throws(SyntaxError) {
        guard words.count == 3, let value = Int(words[2]), value > 0 else {
            throw SyntaxError(line: line, problem: "expected `limit frame BYTES` or `limit stack BYTES`")
        }
        switch words[1] {
        case "frame": frameLimit = value
        case "stack": stackLimit = value
        default: throw SyntaxError(line: line, problem: "no limit is called `\(words[1])`")
        }
    }

    private static func entry(_ text: String, line: Int) throws(SyntaxError) -> Entry {
        guard let space = text.firstIndex(of: " ") else {
            throw SyntaxError(line: line, problem: "expected a kind and a subject")
        }
        let isOptional = text[..<space].hasSuffix("?")
        let word = isOptional ? text[..<space].dropLast() : text[..<space]
        guard let kind = Kind(rawValue: String(word)) else {
            let known = Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw SyntaxError(line: line, problem: "unknown kind `\(word)`; known are \(known)")
        }
        let rest = String(text[space...]).trimmingSpaces
        let (detail, subject) = try split(rest, kind: kind, line: line)
        return Entry(kind: kind, subject: subject, detail: detail, isOptional: isOptional, line: line)
    }

    private static func split(
        _ rest: String, kind: Kind, line: Int
    ) throws(SyntaxError) -> (detail: String, subject: String) {
        switch kind {
        case .privileged, .frame, .stack:
            guard let space = rest.firstIndex(of: " ") else {
                throw SyntaxError(line: line, problem: "`\(kind.rawValue)` needs a value and a function")
            }
            let detail = String(rest[..<space])
            if kind != .privileged && Int(detail) == nil {
                throw SyntaxError(line: line, problem: "`\(detail)` is no number of bytes")
            }
            return (detail, String(rest[space...]).trimmingSpaces)
        case .indirectTarget:
            guard let arrow = rest.firstRange(of: " -> ") else {
                throw SyntaxError(line: line, problem: "expected `indirect-target CALLER -> CALLEE`")
            }
            return (
                String(rest[arrow.upperBound...]).trimmingSpaces,
                String(rest[..<arrow.lowerBound]).trimmingSpaces
            )
        default:
            return ("", rest)
        }
    }
}

extension AllowList.Entry {
    func covers(_ function: Function) -> Bool {
        ([function.name, function.symbol] + function.aliases).contains { glob(subject, matches: $0) }
    }

    /// Whether `detail`, as a comma-separated list, has `word`.
    func lists(_ word: String) -> Bool {
        detail == "*" || detail.split(separator: ",").contains { $0 == word }
    }
}

/// Matches `text` against a pattern in which `*` stands for any run of characters.
func glob(_ pattern: String, matches text: String) -> Bool {
    let pattern = Array(pattern.utf8)
    let text = Array(text.utf8)
    var (p, t) = (0, 0)
    var star: (pattern: Int, text: Int)?
    while t < text.count {
        if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
            star = (p, t)
            p += 1
        } else if p < pattern.count, pattern[p] == text[t] {
            p += 1
            t += 1
        } else if let last = star {
            p = last.pattern + 1
            t = last.text + 1
            star = (last.pattern, t)
        } else {
            return false
        }
    }
    return pattern[p...].allSatisfy { $0 == UInt8(ascii: "*") }
}
