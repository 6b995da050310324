// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraJail
import PenumbraSystem

/// A monitor's process, as ContainerStarter started it, and what is left of it when the container has
/// ended: how that ended. It is two processes (JailedProcess): the container's monitor, which the VM's jail
/// closes behind, and its keeper, which alone can write to the container's directory then. Both hold
/// the container's lock, and neither outlives the other.
public struct ContainerProcess {
    let store: ContainerStore
    let id: ContainerID
    /// Where kernel bundles are kept.
    let kernels: String
    let volumes: VolumeStore
    /// The squashfs of an image, by its id.
    let image: (String) throws -> String
    let terminal: TerminalSize?

    public init(
        store: ContainerStore, id: ContainerID, kernels: String, volumes: VolumeStore,
        image: @escaping (String) throws -> String, terminal: TerminalSize?
    ) {
        (self.store, self.id, self.kernels, self.image) = (store, id, kernels, image)
        self.volumes = volumes
        self.terminal = terminal
    }

    public func run() throws {
        let lock = Self.inherited(ContainerStarter.Inherited.lock)
        let signals = try SignalDescriptor.open([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
        let container = try store.container(holdingLockOf: id)
        switch try JailedProcess.fork(jailing: .child) {
        case .jailed(let keeper):
            try withExtendedLifetime(lock) { try monitor(container, signals, keeper) }
        case .keeper(let monitor): try keep(monitor, of: container, lock, signals)
        }
    }

    // MARK: The jailed half

    private func monitor(_ container: Container, _ signals: Descriptor, _ keeper: Descriptor) throws {
        let starter = Self.inherited(ContainerStarter.Inherited.starter)
        let inbox = try RuntimeInbox()
        let monitor = try ContainerMonitor(
            container, in: store,
            runtime: VirtualMachineRuntime(
                container.configuration, store.files(id), kernels: kernels, volumes: volumes, image: image,
                inbox: inbox),
            inbox: inbox, listener: try MonitorSocket(id).listen(), starter: starter, signals: signals,
            record: { exit in
                guard try keeper.tellKeeper(ContainerState.exited(exit).json.text) else {
                    throw ContainerError.unrecorded(container.name)
                }
            })
        monitor.farewell(try monitor.run(terminal: terminal))
    }

    // MARK: The keeper

    private func keep(
        _ monitor: JailedProcess, of container: Container, _ lock: Descriptor, _ signals: Descriptor
    ) throws {
        // The starter is to see the monitor's end: this end of the connection is closed at once.
        _ = Self.inherited(ContainerStarter.Inherited.starter)
        let socket = MonitorSocket(id)
        defer { socket.remove() }
        // A monitor that ends without a word was killed: whoever next looks finds the lock free.
        if let word = try monitor.word(passingOn: signals) {
            try write(word, of: container, lock)
            socket.remove()
            try monitor.acknowledge()
        }
        _ = try monitor.wait()
    }

    /// The monitor may be its guest's by now: its word says how this container ended, and nothing else.
    private func write(_ word: [UInt8], of container: Container, _ lock: Descriptor) throws {
        let state = try ContainerState(JSON(parsing: word))
        guard case .exited = state else { throw JSONField.Problem("status", "is no end") }
        try store.files(id).write(state)
        if container.configuration.isRemovedAtEnd { try store.remove(id, holding: lock) }
    }

    /// Whoever we start does not get it: the lock would outlive us.
    private static func inherited(_ number: Int32) -> Descriptor {
        _ = fcntl(number, F_SETFD, FD_CLOEXEC)
        return Descriptor(adopting: number)
    }
}
