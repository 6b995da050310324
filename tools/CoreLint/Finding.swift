// SPDX-License-Identifier: Apache-2.0

/// What a finding is about; the raw value is what the report prints.
public enum Rule: String, CaseIterable, Sendable {
    case vector = "vector or x87 code"
    case indirectBranch = "indirect branch"
    case frame = "stack frame"
    case depth = "stack depth"
    case recursion
    case runtime = "runtime call"
    case undefined = "undefined symbol"
    case image = "image layout"
    case entryText = "entry text"
    case privileged = "privileged instruction"
    case threadLocal = "thread-local access"
    case undecodable = "undecodable bytes"
    case allowFile = "allow file"
}

/// One thing that is wrong with the image: where, what, and what to do about it.
public struct Finding: Sendable {
    public let rule: Rule
    public let function: String?
    public let address: UInt64?
    public let problem: String
    public let remedy: String
    /// `file:line`, where debug information names it.
    public internal(set) var location: String?

    init(
        _ rule: Rule, in function: Function? = nil, at address: UInt64? = nil, _ problem: String,
        remedy: String
    ) {
        self.rule = rule
        self.function = function?.name
        self.address = address
        self.problem = problem
        self.remedy = remedy
    }
}

extension Finding: CustomStringConvertible {
    public var description: String {
        var parts: [String] = []
        if let location { parts.append(location) }
        if let function { parts.append(function) }
        if let address { parts.append("0x" + String(address, radix: 16)) }
        parts.append("[\(rule.rawValue)] \(problem); \(remedy)")
        return parts.joined(separator: ": ")
    }
}
