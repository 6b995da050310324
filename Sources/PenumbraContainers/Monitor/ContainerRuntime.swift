// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM
import Synchronization

/// What a monitor has its container run by: a VM with an agent, or a test's stand-in. No call waits;
/// what comes of it is told to the inbox that the runtime was made with.
public protocol ContainerRuntime: AnyObject {
    /// Starts the VM, and in it the main process. What it throws is the user's message.
    func start(_ process: ProcessSpec) throws
    /// Further sessions: another process, a directory's or a file's tar stream, one to unpack.
    func execute(_ process: ProcessSpec) throws -> AgentSession
    func pack(_ path: [UInt8], followsLink: Bool) throws -> AgentSession
    func unpack(to path: [UInt8], _ placement: CopyPlacement) throws -> AgentSession

    func send(_ bytes: [UInt8], to session: AgentSession)
    func endInput(of session: AgentSession)
    /// So many bytes of the session's output have found their reader.
    func passOn(_ count: Int, of session: AgentSession)
    func resize(_ session: AgentSession, to size: TerminalSize)
    func signal(_ session: AgentSession, _ number: Int32)

    /// Ends everything in the VM in good order, then the VM.
    func powerOff()
    /// Ends the VM as it is.
    func kill()
    /// What the VM takes of the host.
    func usage() -> ContainerUsage?
}

/// What a runtime tells, from whatever thread.
public enum RuntimeEvent: Equatable, Sendable {
    case agent(AgentEvent)
    /// The VM is gone; the reason only where it was not asked to go.
    case ended(reason: String?)
}

/// Events on their way to the monitor's thread.
public final class RuntimeInbox: Sendable {
    private let events = Mutex<[RuntimeEvent]>([])
    /// Readable when there are some.
    let arrival: Descriptor

    public init() throws(SystemError) { arrival = try EventDescriptor.open() }

    public func post(_ event: RuntimeEvent) {
        events.withLock { $0.append(event) }
        arrival.signalEvent()
    }

    func take() -> [RuntimeEvent] {
        arrival.takeEvent()
        return events.withLock { events in
            defer { events = [] }
            return events
        }
    }
}

/// What a container takes of the host.
public struct ContainerUsage: Equatable, Sendable {
    /// CPU time of the VM's process since its start, in nanoseconds.
    public var processorTime: UInt64
    /// Of the guest's memory, in bytes: what it has touched, and what it may.
    public var memory: UInt64
    public var memoryLimit: UInt64

    public init(processorTime: UInt64, memory: UInt64, memoryLimit: UInt64) {
        (self.processorTime, self.memory, self.memoryLimit) = (processorTime, memory, memoryLimit)
    }
}
