// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// The bytes to and from the host.
struct Channel {
    /// While this much waits for the host, no session is read.
    private static let crowded = 64 << 10

    let descriptor: Descriptor
    private var decoder = FrameDecoder(maximumPayload: AgentMessage.maximumPayload)
    private var outgoing: [UInt8] = []
    private var sent = 0

    init(_ descriptor: Descriptor) {
        self.descriptor = descriptor
        descriptor.setNonblocking()
        _ = fcntl(descriptor.number, F_SETFD, FD_CLOEXEC)
    }

    var wantsToWrite: Bool { sent < outgoing.count }
    var isCrowded: Bool { outgoing.count - sent > Self.crowded }

    mutating func send(_ message: AgentMessage) { outgoing += message.frame.bytes }

    /// Sends what the channel takes.
    mutating func flush() throws(AgentFailure) {
        do throws(SystemError) {
            while wantsToWrite, let count = try descriptor.write(some: outgoing[sent...]) { sent += count }
        } catch { throw AgentFailure(error) }
        // Moved to the front now and then, not for each few bytes that a console takes.
        if sent == outgoing.count || sent > Self.crowded {
            outgoing.removeFirst(sent)
            sent = 0
        }
    }

    /// Takes what has come; false: the host is gone.
    mutating func receive() throws(AgentFailure) -> Bool {
        do throws(SystemError) {
            guard let bytes = try descriptor.read(atMost: 64 << 10) else { return true }
            decoder.append(bytes)
            return !bytes.isEmpty
        } catch { throw AgentFailure(error) }
    }

    /// The next message that came whole.
    mutating func next() throws(AgentFailure) -> AgentMessage? {
        do throws(ProtocolError) {
            guard let frame = try decoder.next() else { return nil }
            return try AgentMessage(frame)
        } catch { throw AgentFailure(.setup, "the host's side of the channel: \(error.description)") }
    }
}
