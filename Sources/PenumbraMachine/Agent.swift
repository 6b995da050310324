// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The machine's side: serves every port of the machine from one thread, a session on each.
///
/// A port without a client polls as hung up for ever. Such ports are left out of poll(2); the
/// driver sends SIGIO when a client comes (drivers/char/virtio_console.c, send_sigio_to_port),
/// which a signalfd turns into something to poll for.
public final class Agent {
    private let signals: Descriptor
    private let ports: [AgentPort]

    public init() throws {
        signal(SIGPIPE, SIG_IGN)
        try Files.makeDirectories(Connection.transientFiles, mode: 0o700)
        signals = try SignalDescriptor.open([SIGIO])
        ports = try Self.openPorts()
        guard !ports.isEmpty else {
            throw MachineError.refused("no virtio port is named penumbra.*: this is no machine of penumbra's")
        }
    }

    /// The kernel learns the ports' names by messages that may come after the driver is loaded,
    /// so a missing one is waited for.
    private static func openPorts() throws -> [AgentPort] {
        let deadline = monotonicSeconds() + 10
        while namedPorts().count < StateDirectory.portCount && monotonicSeconds() < deadline {
            usleep(10_000)
        }
        return try namedPorts().map { try AgentPort(device: "/dev/\($0)") }
    }

    private static func namedPorts() -> [String] {
        let directory = "/sys/class/virtio-ports"
        return Files.list(directory).filter { device in
            Files.text("\(directory)/\(device)/name")?.hasPrefix("penumbra.") == true
        }
    }

    public func serve() throws -> Never {
        let driver = Watch(signals, POLLIN) { [signals] in _ = try signals.read(atMost: 4096) }
        while true { try Self.serveOnce(ports, [driver]) }
    }

    /// Waits until there is something to do at the ports, or for the others, and does it.
    static func serveOnce(_ ports: [AgentPort], _ others: [Watch]) throws {
        for port in ports { port.noticeClient() }
        let watches = others + ports.flatMap { $0.watches() }
        var list = watches.map(\.request)
        poll(&list, nfds_t(list.count), milliseconds(until: ports.compactMap(\.deadline).min()))
        for (watch, result) in zip(watches, list) where result.revents != 0 { try watch.action() }
        for port in ports { port.reapAbandoned() }
    }

    /// As poll(2) takes it, rounded up.
    private static func milliseconds(until deadline: Double?) -> Int32 {
        guard let deadline else { return -1 }
        return Int32(max(0, (deadline - monotonicSeconds()) * 1000).rounded(.up))
    }
}

/// A descriptor to wait for and what to do then.
struct Watch {
    let request: pollfd
    let action: () throws -> Void

    init(_ descriptor: Descriptor, _ events: Int32, _ action: @escaping () throws -> Void) {
        request = pollfd(fd: descriptor.number, events: Int16(events), revents: 0)
        self.action = action
    }
}
