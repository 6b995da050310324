// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraContainers
import PenumbraSystem

/// Starts a container, and attaches this process's streams or leaves it running.
struct ContainerStart {
    let id: ContainerID
    let takesInput: Bool
    let store: ContainerStore

    private func begin(_ container: Container) throws -> MonitorClient? {
        try Containers.starter(store).start(
            container, terminal: container.configuration.hasTerminal ? Terminals.size : nil)
    }

    /// Returns when the program has started; one that is running already is none of our business.
    func detached() throws {
        let container = try store.container(id)
        guard let client = try begin(container) else { return }
        try client.send(.attach(takesInput: false))
        while true {
            while let message = try client.next() {
                switch message {
                case .started: return
                case .ended(let end) where end.reason != nil || end.code != 0:
                    throw ContainerFailure(container: container.name, end: end)
                case .ended: return
                default: break
                }
            }
            try client.receive()
        }
    }

    /// Runs the program on our streams; its status.
    func attached() throws -> Int32 {
        let container = try store.container(id)
        guard let client = try begin(container) else { throw ContainerError.running(container.name) }
        try client.send(.attach(takesInput: takesInput))
        let end = try AttachedStreams(
            client: client, takesInput: takesInput, hasTerminal: container.configuration.hasTerminal,
            signals: .container { try? MonitorClient(to: store.container(id)).signal($0) }
        ).run()
        return ContainerEnd.report(end)
    }
}

/// What is said of an end, and this program's exit status for it.
enum ContainerEnd {
    static func report(_ end: AttachedStreams.End) -> Int32 {
        switch end {
        case .detached: return 0
        case .ended(let end):
            if let reason = end.reason { Output.note(reason) }
            return end.code
        }
    }
}

/// A container whose program did not start, or ended at once for a reason that is not its own.
struct ContainerFailure: Error, CustomStringConvertible {
    let container: String
    let end: SessionEnd

    var description: String {
        "container '\(container)' ended with status \(end.code)\(end.reason.map { ": \($0)" } ?? "")"
    }
}
