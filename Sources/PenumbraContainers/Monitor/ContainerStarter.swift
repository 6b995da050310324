// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// Starts a container's monitor: this program again, in a session of its own, which inherits the
/// container's lock and one end of a connection.
public struct ContainerStarter: Sendable {
    /// What the monitor finds open.
    public enum Inherited {
        public static let lock: Int32 = 3
        public static let starter: Int32 = 4
    }

    public let store: ContainerStore
    /// The monitor's command line, without the container's id.
    public let command: [String]

    public init(store: ContainerStore, command: [String]) { (self.store, self.command) = (store, command) }

    /// A connection to the monitor, which has begun; nil: the container runs already. A monitor that has
    /// its farewell to say yet is waited for.
    public func start(_ container: Container, terminal: TerminalSize? = nil) throws -> MonitorClient? {
        guard let lock = try store.lockOfStopped(container.id) else { return nil }
        let (ours, theirs) = try LocalSocket.pair()
        let null = try Descriptor(path: "/dev/null", flags: O_RDWR)
        let errors = try Descriptor(
            path: store.files(container.id).bootLog, flags: O_WRONLY | O_CREAT | O_TRUNC | O_APPEND,
            mode: 0o600)
        var words = command + [container.id.text]
        if let terminal { words.append(terminal.text) }
        _ = try ChildProcess(
            program: words[0], arguments: Array(words.dropFirst()),
            descriptors: [
                (null.number, 0), (null.number, 1), (errors.number, 2), (lock.number, Inherited.lock),
                (theirs.number, Inherited.starter),
            ], ownSession: true
        ).spawn()
        return MonitorClient(name: container.name, socket: ours)
    }
}
