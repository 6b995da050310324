// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// A monitor's process, as ContainerStarter started it: holds the container's lock, runs the container,
/// and leaves nothing behind but how that ended.
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
        let starter = Self.inherited(ContainerStarter.Inherited.starter)
        let signals = try SignalDescriptor.open([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
        let container = try store.container(holdingLockOf: id)
        let inbox = try RuntimeInbox()
        let socket = MonitorSocket(id)
        let listener = try socket.listen()
        defer { socket.remove() }
        let monitor = try ContainerMonitor(
            container, in: store,
            runtime: VirtualMachineRuntime(
                container.configuration, store.files(id), kernels: kernels, volumes: volumes, image: image,
                inbox: inbox),
            inbox: inbox, listener: listener, starter: starter, signals: signals)
        let exit = try monitor.run(terminal: terminal)
        socket.remove()
        if container.configuration.isRemovedAtEnd { try store.remove(id, holding: lock) }
        monitor.farewell(exit)
    }

    /// Whoever we start does not get it: the lock would outlive us.
    private static func inherited(_ number: Int32) -> Descriptor {
        _ = fcntl(number, F_SETFD, FD_CLOEXEC)
        return Descriptor(adopting: number)
    }
}
