// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// Why a guest cannot be connected to the host's network; the text is the user's message.
public enum NetworkError: Error, Equatable, CustomStringConvertible {
    case notInstalled
    case refused(reason: String)

    public var description: String {
        switch self {
        case .notInstalled:
            "the program passt is not there: install the package 'passt', or run without a network"
        case .refused(let reason): "the guest cannot be connected to the network: passt says: \(reason)"
        }
    }
}

/// The host's network for a guest, without privileges: a passt(1) of its own turns the guest's packets
/// into the system calls of an ordinary process, and connections to published ports into packets. It
/// ends when the guest's end of its socket is gone. Services that the host offers to itself only (on
/// its loopback interface) are out of the guest's reach.
public enum UserNetwork {
    /// What the guest is to use: it is alone in this network, so it is the same for all.
    public static let address: [UInt8] = [10, 0, 2, 15]
    public static let prefixLength: UInt8 = 24
    public static let gateway: [UInt8] = [10, 0, 2, 2]
    /// Asks the host's own name server.
    public static let nameServer: [UInt8] = [10, 0, 2, 3]
    /// The longest IP packet in whole 32-bit words, as passt has it: nothing on the way needs them short.
    public static let mtu: UInt32 = 65520

    private static let program = "passt"
    private static let mask = "255.255.255.0"
    private static let socketNumber: Int32 = 3
    private static let nobody = 65534
    /// It complains so, once for each message, where no syslogd is.
    private static let noise = "Failed to send"

    /// Starts it; on return the ports are the guest's.
    public static func start(publishing ports: [PublishedPort]) throws -> NetworkSettings {
        guard Files.program(program) != nil else { throw NetworkError.notInstalled }
        let (ours, its) = try LocalSocket.pair()
        let (messages, log) = try ChildProcess.pipe()
        let nothing = try Descriptor(path: "/dev/null", flags: O_RDWR)
        let child = try ChildProcess(
            program: program, arguments: arguments(ports),
            descriptors: [
                (nothing.number, 0), (nothing.number, 1), (log.number, 2), (its.number, socketNumber),
            ], ownSession: true
        ).spawn()
        // It goes on in another process, whose messages nobody reads, when all is set up.
        let end = try ChildProcess.wait(for: child)
        guard end == .exited(0) else {
            messages.setNonblocking()
            throw NetworkError.refused(reason: reason(in: try messages.read(atMost: 1 << 16) ?? [], end))
        }
        return NetworkSettings(peer: ours)
    }

    static func arguments(_ ports: [PublishedPort]) -> [String] {
        func text(_ address: [UInt8]) -> String { address.map(String.init).joined(separator: ".") }
        let network = [
            "--address", text(address), "--netmask", mask, "--gateway", text(gateway), "--mtu", String(mtu),
            "--dns-forward", text(nameServer), "--no-map-gw",
        ]
        let published = ports.flatMap { port in
            [
                port.transport == .tcp ? "--tcp-ports" : "--udp-ports",
                (port.address.map { $0 + "/" } ?? "") + "\(port.host):\(port.guest)",
            ]
        }
        // The superuser's passt becomes nobody, by name unless it is told a number.
        let user = geteuid() == 0 ? ["--runas", "\(nobody):\(nobody)"] : []
        return ["--fd", String(socketNumber), "--stderr"] + user + network + published
    }

    /// The last thing that it said.
    private static func reason(in messages: [UInt8], _ end: Termination) -> String {
        let lines = String(decoding: messages, as: UTF8.self).split(whereSeparator: \.isNewline)
        let last = lines.last { !$0.hasPrefix(noise) && !$0.allSatisfy(\.isWhitespace) }
        return last.map(String.init) ?? "nothing, and ended with \(end.exitCode)"
    }
}
