// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// A client of a monitor's, as the monitor sees it.
final class MonitorPeer {
    /// What the client has asked for.
    enum Role: Equatable {
        case fresh
        case attached(takesInput: Bool)
        /// A session of its own.
        case session(AgentSession)
        /// Waits for the container's end, or for nothing more.
        case waiting
    }

    /// More than that is not taken from a session until the client has read some.
    static let outputLimit = 256 << 10

    let socket: Descriptor
    /// It started the container: the main process's input ends with it.
    let isStarter: Bool
    var role = Role.fresh
    /// Its session is ended when it leaves.
    var endsSession = false
    private var decoder = FrameDecoder(maximumPayload: MonitorMessage.maximumPayload)
    private(set) var outgoing: [UInt8] = []
    /// Bytes of its session that the agent has no credit for yet.
    var owed = 0
    /// Its input that has not reached the process, in bytes.
    var untaken = 0
    /// The connection is closed once all has gone out.
    var isLeaving = false

    init(_ socket: Descriptor, isStarter: Bool = false) {
        (self.socket, self.isStarter) = (socket, isStarter)
        socket.setNonblocking()
    }

    var isSlow: Bool { outgoing.count > Self.outputLimit }

    func send(_ message: MonitorMessage) { outgoing += message.frame.bytes }

    /// Sends what the socket takes; false: the client is gone.
    func flush() -> Bool {
        do {
            while !outgoing.isEmpty, let count = try socket.send(some: outgoing[...]) {
                outgoing.removeFirst(count)
            }
            return true
        } catch { return false }
    }

    /// What the client has sent; nil: it is gone, or does not speak this language.
    func receive() -> [MonitorMessage]? {
        do {
            guard let bytes = try socket.read(atMost: 1 << 16) else { return [] }
            guard !bytes.isEmpty else { return nil }
            decoder.append(bytes)
            var messages: [MonitorMessage] = []
            while let frame = try decoder.next() { messages.append(try MonitorMessage(frame)) }
            return messages
        } catch { return nil }
    }
}
