// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Where a container is in its life. On disk it is state.json, replaced atomically.
public enum ContainerState: Equatable, Sendable {
    case created
    /// Its monitor has begun to make the VM, or runs it. `boot` tells the boot of the host that this
    /// happened in.
    case running(since: Timestamp, process: Int32, boot: String)
    case exited(ContainerExit)
}

/// How a container's last run ended.
public struct ContainerExit: Equatable, Sendable {
    public var started: Timestamp
    public var finished: Timestamp
    /// The main process's, or what container engines use where there is none: 125 to 127 for a process
    /// that could not be started, 128 + n for one that signal n ended.
    public var code: Int32
    /// What else there is to say: why the process could not be started, how the VM ended.
    public var reason: String?
    public var isOutOfMemory = false

    public init(
        started: Timestamp, finished: Timestamp, code: Int32, reason: String? = nil,
        isOutOfMemory: Bool = false
    ) {
        (self.started, self.finished, self.code) = (started, finished, code)
        (self.reason, self.isOutOfMemory) = (reason, isOutOfMemory)
    }

    mutating func add(_ reason: String) {
        self.reason = [self.reason, reason].compactMap(\.self).joined(separator: "; ")
    }

    /// Of a reason that is written down, in bytes: part of it is the guest's.
    static let reasonLimit = 2000

    /// With as much of the reason as is written down.
    var bounded: ContainerExit {
        var end = self
        end.reason = reason.map { String(decoding: $0.utf8.prefix(Self.reasonLimit), as: UTF8.self) }
        return end
    }

    /// For a VM that did not end by its main process's end: nobody knows that one's status.
    public static let lostCode: Int32 = 255
}

extension ContainerState {
    public var word: String {
        switch self {
        case .created: "created"
        case .running: "running"
        case .exited: "exited"
        }
    }

    public var isRunning: Bool { if case .running = self { true } else { false } }

    var json: JSON {
        switch self {
        case .created: .object([("status", .string(word))])
        case .running(let since, let process, let boot):
            .object([
                ("status", .string(word)), ("started", .string(since.description)),
                ("process", .number(UInt64(process))), ("boot", .string(boot)),
            ])
        case .exited(let exit):
            .object([
                ("status", .string(word)), ("started", .string(exit.started.description)),
                ("finished", .string(exit.finished.description)), ("code", .number(UInt64(exit.code))),
                ("reason", exit.reason.map { .string($0) } ?? .null),
                ("isOutOfMemory", .boolean(exit.isOutOfMemory)),
            ])
        }
    }

    init(_ json: JSON) throws(JSONField.Problem) {
        let field = JSONField(json)
        let time = { (name: String) throws(JSONField.Problem) in try field.parsed(name) { Timestamp($0) } }
        switch try field.text("status") {
        case "created": self = .created
        case "running":
            self = .running(
                since: try time("started"),
                process: Int32(truncatingIfNeeded: try field.number("process")),
                boot: try field.text("boot"))
        case "exited":
            self = .exited(
                ContainerExit(
                    started: try time("started"), finished: try time("finished"),
                    code: Int32(truncatingIfNeeded: try field.number("code")),
                    reason: json["reason"]?.string, isOutOfMemory: try field.flag("isOutOfMemory")))
        case let other: throw JSONField.Problem("status", "is '\(other)'")
        }
    }
}
