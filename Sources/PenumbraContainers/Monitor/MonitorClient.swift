// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// A connection to a container's monitor, for one request.
public final class MonitorClient {
    /// Requests that the monitor answers at once are answered within so many seconds, or it hangs.
    private static let patience = 20.0

    private let name: String
    public let socket: Descriptor
    private var decoder = FrameDecoder(maximumPayload: MonitorMessage.maximumPayload)

    init(name: String, socket: Descriptor) { (self.name, self.socket) = (name, socket) }

    /// To the monitor of a container that runs.
    public convenience init(to container: Container) throws {
        guard container.state.isRunning, let socket = try MonitorSocket(container.id).connect() else {
            throw ContainerError.notRunning(container.name)
        }
        self.init(name: container.name, socket: socket)
    }

    public func send(_ message: MonitorMessage) throws {
        do { try socket.write(message.frame.bytes) } catch { throw ContainerError.lost(name) }
    }

    /// What has come, if there is something whole.
    public func next() throws -> MonitorMessage? { try decoder.next().map { try MonitorMessage($0) } }

    /// Takes what the socket has; waits until it has something.
    public func receive() throws {
        guard let bytes = try? socket.read(atMost: 1 << 16), !bytes.isEmpty else {
            throw ContainerError.lost(name)
        }
        decoder.append(bytes)
    }

    // MARK: Requests with one answer

    /// The answer to `message`.
    private func ask(_ message: MonitorMessage, within seconds: Double?) throws -> MonitorMessage {
        try send(message)
        let deadline = seconds.map { monotonicSeconds() + $0 }
        while true {
            if let answer = try next() {
                if case .refused(let reason) = answer { throw ContainerError.refused(reason) }
                return answer
            }
            if let seconds, let deadline,
                !socket.waitReadable(seconds: max(0, deadline - monotonicSeconds()))
            {
                throw ContainerError.silent(name, seconds: seconds)
            }
            try receive()
        }
    }

    /// How the container ended, once it has.
    public func wait() throws -> SessionEnd { try end(ask(.wait, within: nil)) }

    /// Returns when the container has ended.
    public func stop(seconds: UInt32) throws -> SessionEnd {
        try end(ask(.stop(seconds: seconds), within: nil))
    }

    private func end(_ answer: MonitorMessage) throws -> SessionEnd {
        guard case .ended(let end) = answer else { throw ContainerError.lost(name) }
        return end
    }

    /// Sends the main process a signal.
    public func signal(_ number: Int32) throws { _ = try ask(.signal(number), within: Self.patience) }

    public func usage() throws -> ContainerUsage {
        guard case .used(let usage) = try ask(.usage, within: Self.patience) else {
            throw ContainerError.lost(name)
        }
        return usage
    }
}
