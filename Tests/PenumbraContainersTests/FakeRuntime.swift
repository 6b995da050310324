// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM
import Synchronization

@testable import PenumbraContainers

/// A VM that a test plays: it writes down what it is told.
final class FakeRuntime: ContainerRuntime, Sendable {
    enum Call: Equatable, Sendable {
        case start(ProcessSpec)
        case execute(AgentSession)
        case pack(AgentSession)
        case send(AgentSession, [UInt8])
        case endInput(AgentSession)
        case passOn(AgentSession, Int)
        case resize(AgentSession, TerminalSize)
        case signal(AgentSession, Int32)
        case powerOff
        case kill
    }

    struct Refusal: Error, CustomStringConvertible { let description: String }

    let inbox: RuntimeInbox
    private let list = Mutex<[Call]>([])
    private let next = Mutex<UInt32>(1)
    /// Why it does not start; nil: it does.
    let refusal: String?

    init(_ inbox: RuntimeInbox, refusal: String? = nil) { (self.inbox, self.refusal) = (inbox, refusal) }

    var calls: [Call] { list.withLock { $0 } }

    private func note(_ call: Call) { list.withLock { $0.append(call) } }

    private func session() -> AgentSession {
        AgentSession(
            rawValue: next.withLock { next in
                defer { next += 1 }
                return next
            })
    }

    func start(_ process: ProcessSpec) throws {
        note(.start(process))
        if let refusal { throw Refusal(description: refusal) }
    }

    func execute(_ process: ProcessSpec) throws -> AgentSession {
        let session = session()
        note(.execute(session))
        return session
    }

    func pack(_ path: [UInt8], followsLink: Bool) throws -> AgentSession {
        let session = session()
        note(.pack(session))
        return session
    }

    func unpack(to path: [UInt8], _ placement: CopyPlacement) throws -> AgentSession { session() }
    func send(_ bytes: [UInt8], to session: AgentSession) { note(.send(session, bytes)) }
    func endInput(of session: AgentSession) { note(.endInput(session)) }
    func passOn(_ count: Int, of session: AgentSession) { note(.passOn(session, count)) }
    func resize(_ session: AgentSession, to size: TerminalSize) { note(.resize(session, size)) }
    func signal(_ session: AgentSession, _ number: Int32) { note(.signal(session, number)) }

    func powerOff() {
        note(.powerOff)
        inbox.post(.ended(reason: nil))
    }

    func kill() {
        note(.kill)
        inbox.post(.ended(reason: nil))
    }

    func usage() -> ContainerUsage? {
        ContainerUsage(processorTime: 1, memory: 2, memoryLimit: 3)
    }
}
