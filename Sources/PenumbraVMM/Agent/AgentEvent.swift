// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem

/// What a container's agent says of itself and of its sessions.
public enum AgentEvent: Equatable, Sendable {
    /// The guest's kernel is up, and the agent listens.
    case ready(kernel: String)
    case configured
    /// The container cannot be had; what is started in it fails too.
    case configurationFailed(String)
    case started(AgentSession)
    /// Bytes of a session; more than `AgentMessage.window` come only when `AgentLink.passOn` says that
    /// earlier ones have been passed on.
    case output(AgentSession, OutputStream, [UInt8])
    /// So many bytes of what `AgentLink.send` took have reached the process.
    case inputTaken(AgentSession, Int)
    /// The end of a session that had come to its process; all its output has come before.
    case terminated(AgentSession, Termination, outOfMemory: Bool)
    /// The end of one that had not.
    case failed(AgentSession, AgentFailure)
    /// The agent broke the protocol, or speaks another one: nothing is heard of it any more.
    case lost(reason: String)
}
