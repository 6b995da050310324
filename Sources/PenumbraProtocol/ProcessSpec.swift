// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// A program to run in a container. Arguments and variables are bytes: they need not be UTF-8.
public struct ProcessSpec: Equatable, Sendable {
    /// The program first: a path, or a name that is looked for in the environment's PATH.
    public var arguments: [[UInt8]]
    /// NAME=VALUE each. The agent adds PATH, HOME, HOSTNAME, and with a terminal TERM, where they are missing.
    public var environment: [[UInt8]] = []
    /// The working directory; made where it is missing.
    public var directory = "/"
    /// USER, USER:GROUP, each a name of the container's /etc/passwd and /etc/group or a number; empty: root.
    public var user = ""
    /// nil: three pipes instead of a terminal.
    public var terminal: TerminalSize?
    public var limits: [ResourceLimit] = []
    public var capabilities = Capabilities.standard
    /// Programs gain nothing by set-user-ID bits (prctl(2), PR_SET_NO_NEW_PRIVS).
    public var hasNoNewPrivileges = false

    public init(arguments: [[UInt8]]) { self.arguments = arguments }

    public init(_ arguments: String...) { self.arguments = arguments.map { Array($0.utf8) } }

    func write(to payload: inout PayloadWriter) {
        payload.strings(arguments)
        payload.strings(environment)
        payload.text(directory)
        payload.text(user)
        payload.optional(terminal) { $0.size($1) }
        payload.list(limits) { (payload, limit) in
            payload.number(limit.resource.rawValue)
            payload.number(limit.soft)
            payload.number(limit.hard)
        }
        payload.number(capabilities.rawValue)
        payload.flag(hasNoNewPrivileges)
    }

    init(from reader: inout PayloadReader) throws(ProtocolError) {
        arguments = try reader.strings()
        environment = try reader.strings()
        directory = try reader.text()
        user = try reader.text()
        terminal = try reader.optional { (reader) throws(ProtocolError) in try reader.size() }
        limits = try reader.list { (reader) throws(ProtocolError) in
            guard let resource = ResourceLimit.Resource(rawValue: try reader.number()) else {
                throw reader.damaged
            }
            return ResourceLimit(resource, soft: try reader.number(), hard: try reader.number())
        }
        capabilities = Capabilities(rawValue: try reader.number())
        hasNoNewPrivileges = try reader.flag()
    }
}
