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
