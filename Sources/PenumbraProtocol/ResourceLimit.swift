// SPDX-License-Identifier: Apache-2.0

/// A limit of a process (setrlimit(2)).
public struct ResourceLimit: Equatable, Sendable {
    /// The kernel's numbers (asm-generic/resource.h).
    public enum Resource: UInt8, CaseIterable, Sendable {
        case cpu, fsize, data, stack, core, rss, nproc, nofile, memlock, `as`, locks, sigpending, msgqueue
        case nice, rtprio, rttime

        /// As `--ulimit` and setrlimit(2) call it, in lower case.
        public var name: String {
            switch self {
            case .cpu: "cpu"
            case .fsize: "fsize"
            case .data: "data"
            case .stack: "stack"
            case .core: "core"
            case .rss: "rss"
            case .nproc: "nproc"
            case .nofile: "nofile"
            case .memlock: "memlock"
            case .as: "as"
            case .locks: "locks"
            case .sigpending: "sigpending"
            case .msgqueue: "msgqueue"
            case .nice: "nice"
            case .rtprio: "rtprio"
            case .rttime: "rttime"
            }
        }
    }

    public static let unlimited = UInt64.max

    public var resource: Resource
    public var soft: UInt64
    public var hard: UInt64

    public init(_ resource: Resource, soft: UInt64, hard: UInt64) {
        (self.resource, self.soft, self.hard) = (resource, soft, hard)
    }

    /// "NAME=SOFT[:HARD]", each a number or -1 for no limit; nil if it is none.
    public init?(_ text: String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let resource = Resource.allCases.first(where: { $0.name == parts[0] }) else {
            return nil
        }
        let values = parts[1].split(separator: ":", omittingEmptySubsequences: false)
        guard let first = values.first, values.count <= 2, let soft = Self.value(first),
            let hard = values.count == 2 ? Self.value(values[1]) : soft, soft <= hard
        else { return nil }
        self.init(resource, soft: soft, hard: hard)
    }

    private static func value(_ text: Substring) -> UInt64? { text == "-1" ? unlimited : UInt64(text) }
}
