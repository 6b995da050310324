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
        var starter: Descriptor? = Self.inherited(ContainerStarter.Inherited.starter)
        do {
            let signals = try SignalDescriptor.open([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
            let container = try store.container(holdingLockOf: id)
            switch try JailedProcess.fork(jailing: .child) {
            case .jailed(let keeper):
                try withExtendedLifetime(lock) { try monitor(container, signals, starter, keeper) }
            case .keeper(let monitor):
                // The starter is to see the monitor's end: this process has no part in the connection.
                starter = nil
                try keep(monitor, of: container, lock, signals)
            }
        } catch {
            // Nothing has begun, and nothing is written down.
            try? starter?.write(MonitorMessage.ended(SessionEnd(code: 125, reason: "\(error)")).frame.bytes)
            throw error
        }
    }

    // MARK: The jailed half

    private func monitor(
        _ container: Container, _ signals: Descriptor, _ starter: Descriptor?, _ keeper: Descriptor
    ) throws {
        let inbox = try RuntimeInbox()
        let monitor = try ContainerMonitor(
            container, in: store,
            runtime: VirtualMachineRuntime(
                container.configuration, store.files(id), kernels: kernels, volumes: volumes, image: image,
                inbox: inbox),
            inbox: inbox, listener: try MonitorSocket(id).listen(), starter: starter, signals: signals,
            keeper: ContainerKeeper(at: keeper, of: container.name))
        monitor.farewell(monitor.run(terminal: terminal))
    }

    // MARK: The keeper

    private func keep(
        _ monitor: JailedProcess, of container: Container, _ lock: Descriptor, _ signals: Descriptor
    ) throws {
        let socket = MonitorSocket(id)
        defer { socket.remove() }
        let files = store.files(id)
        // A monitor that ends without a word about its end was killed: whoever next looks finds the lock free.
        while let text = try monitor.word(passingOn: signals) {
            switch try ContainerKeeper.Word(text) {
            case .log:
                // A full disk costs the log, not the container.
                let count = container.configuration.logLimits.files
                try monitor.hand { () throws(SystemError) in try files.log.begin(keeping: count) }
            case .end(let exit):
                try files.write(end: exit)
                if container.configuration.isRemovedAtEnd { try store.remove(id, holding: lock) }
                socket.remove()
                try monitor.acknowledge()
            }
        }
        _ = try monitor.wait()
    }

    /// Whoever we start does not get it: the lock would outlive us.
    private static func inherited(_ number: Int32) -> Descriptor {
        _ = fcntl(number, F_SETFD, FD_CLOEXEC)
        return Descriptor(adopting: number)
    }
}
