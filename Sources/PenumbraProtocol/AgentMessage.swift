// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// One conversation within the channel to a container's agent: a process with its streams, or a copy.
public struct AgentSession: RawRepresentable, Hashable, Sendable {
    public var rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The container's first process; its end is the container's.
    public static let main = AgentSession(rawValue: 0)
}

/// Which of a process's two outputs.
public enum OutputStream: UInt8, Equatable, Sendable {
    /// With a terminal: everything.
    case standard = 1
    case error = 2
}

/// What a container's agent (`penumbra-init`) and its host say to each other, one frame each, over the
/// guest's second console.
///
///     agent                               host
///     hello                               the channel passes bytes unchanged from now on
///                                         welcome
///                                         configure: what the container looks like
///     configured | configurationFailed
///                                         start session 0: the main process
///     started, output ..., terminated | failed
///                                         start, pack, unpack session N: any number, at any time
///     ...                                 powerOff: file systems are written back, then the VM ends
///
/// The host need not wait for the answers in between: the agent serves it in order. Nothing ends by
/// itself: the agent reports `terminated` for session 0 and waits to be told to power off.
///
/// **Sessions.** Each message behind `configured` carries the number of its session. The host chooses
/// it; it is free again after `terminated` or `failed`, which end the session in both directions. What
/// the host sent before it saw that end is ignored.
///
/// **Flow control.** Each side may have at most `window` bytes of `input` or `output` of a session on
/// their way; the receiver gives `credit` for what it has passed on. So one session that nobody reads
/// never stops another, and no side ever holds more than a window per session. Who sends without
/// credit breaks the protocol.
public enum AgentMessage: Equatable, Sendable {
    public static let version: UInt32 = 1
    /// Bytes of a session that may be on their way in one direction.
    public static let window = 64 << 10
    /// A program's arguments and environment together may have 2 MiB (execve(2), with the usual stack
    /// limit); the rest is small.
    public static let maximumPayload = 3 << 20
    /// Bytes of a stream in one message: a short time on the channel, so that sessions take turns.
    public static let chunk = 8 << 10
    /// Sessions at one time.
    public static let maximumSessions = 256

    case hello(version: UInt32, kernel: String)
    case welcome(version: UInt32)
    case configure(ContainerSpec)
    case configured
    case configurationFailed(String)

    case start(AgentSession, ProcessSpec)
    /// Sends what is at a path within the container's root as a tar stream on `output`. A link there is
    /// itself, or what it leads to.
    case pack(AgentSession, path: [UInt8], followsLink: Bool)
    /// Takes a tar stream from `input` and unpacks it at a path within the container's root.
    case unpack(AgentSession, path: [UInt8], CopyPlacement)
    case started(AgentSession)
    case input(AgentSession, [UInt8])
    case inputEnd(AgentSession)
    case output(AgentSession, OutputStream, [UInt8])
    case credit(AgentSession, UInt32)
    case resize(AgentSession, TerminalSize)
    case signal(AgentSession, Int32)
    case terminated(AgentSession, Termination, outOfMemory: Bool)
    /// Ends a session that did not come to its process.
    case failed(AgentSession, AgentFailure)

    case powerOff
}

/// Why a session came to nothing.
public struct AgentFailure: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Kind: UInt8, Sendable {
        /// There is no such program.
        case notFound = 1
        /// The program is there and cannot be executed.
        case notExecutable
        /// Anything else on the way to the program.
        case setup

        /// What shells and container engines exit with.
        public var exitCode: Int32 {
            switch self {
            case .notFound: 127
            case .notExecutable: 126
            case .setup: 125
            }
        }
    }

    public var kind: Kind
    /// What failed, why, and what to do, in a line.
    public var reason: String

    public init(_ kind: Kind, _ reason: String) { (self.kind, self.reason) = (kind, reason) }

    public var description: String { reason }
}
