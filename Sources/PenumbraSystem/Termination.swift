// SPDX-License-Identifier: Apache-2.0

/// How a program ended.
public enum Termination: Equatable, Sendable {
    case exited(Int32)
    case killed(signal: Int32)

    /// As a shell reports it.
    public var exitCode: Int32 {
        switch self {
        case .exited(let status): status
        case .killed(let signal): 128 + signal
        }
    }
}

extension Termination {
    /// What wait(2) tells of a process that ended: the low seven bits hold the signal, the next byte the
    /// exit status.
    public init(waitStatus status: Int32) {
        self = status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .killed(signal: status & 0x7f)
    }
}
