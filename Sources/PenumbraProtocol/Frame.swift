// SPDX-License-Identifier: Apache-2.0

/// The wire format between `penumbra` and the agents in machines and containers.
///
/// A frame is a header of eight bytes and a payload:
///
///     0      1      2     4            8
///     | 0xA5 | type | 0 0 | length, LE | payload |
///
/// A reader sets the limit of a payload: 16 KiB for a machine's agent, more for a container's
/// (`AgentMessage.maximumPayload`).
///
/// To a machine's agent the bytes travel over virtio-serial ports, which know no connections: a reader
/// can meet the middle of a frame whose sender was killed, followed by another sender's. Therefore zero
/// bytes between frames mean nothing, and whoever takes up a port first sends
/// `Frame.resynchronization`, more zeros than any frame there can still miss: they complete a broken
/// frame, and the rest is skipped.
public struct Frame: Equatable, Sendable {
    public static let magic: UInt8 = 0xA5
    public static let headerSize = 8
    public static let maximumPayload = 16 << 10
    public static let resynchronization = [UInt8](repeating: 0, count: headerSize + maximumPayload)

    public var type: UInt8
    public var payload: [UInt8]

    public init(type: UInt8, payload: [UInt8]) {
        self.type = type
        self.payload = payload
    }

    public var bytes: [UInt8] {
        var bytes: [UInt8] = [Self.magic, type, 0, 0]
        bytes.reserveCapacity(Self.headerSize + payload.count)
        bytes.append(littleEndian: UInt32(payload.count))
        return bytes + payload
    }
}

/// Takes bytes as they come and gives the frames in them.
public struct FrameDecoder: Sendable {
    private let maximumPayload: Int
    private var buffer: [UInt8] = []
    private var start = 0

    public init(maximumPayload: Int = Frame.maximumPayload) { self.maximumPayload = maximumPayload }

    public mutating func append(_ bytes: [UInt8]) {
        buffer.removeFirst(start)
        start = 0
        buffer += bytes
    }

    /// The next whole frame, or nil until more bytes come.
    public mutating func next() throws(ProtocolError) -> Frame? {
        while start < buffer.count, buffer[start] == 0 { start += 1 }
        guard buffer.count - start >= Frame.headerSize else { return nil }
        guard buffer[start] == Frame.magic, buffer[start + 2] == 0, buffer[start + 3] == 0 else {
            throw .notAFrame
        }
        let length = Int(buffer[(start + 4)...].littleEndianUInt32)
        guard length <= maximumPayload else { throw .tooLong(length) }
        let end = start + Frame.headerSize + length
        guard buffer.count >= end else { return nil }
        let frame = Frame(type: buffer[start + 1], payload: Array(buffer[(start + Frame.headerSize)..<end]))
        start = end
        return frame
    }
}

/// The peer sent what this protocol does not know.
public enum ProtocolError: Error, Equatable, CustomStringConvertible {
    case notAFrame
    case tooLong(Int)
    case unknownType(UInt8)
    case damaged(type: UInt8)
    case unexpected(String)
    case otherVersion(UInt32)

    public var description: String {
        switch self {
        case .notAFrame: "the agent sent bytes that are no frame"
        case .tooLong(let length): "the agent sent a frame of \(length) bytes"
        case .unknownType(let type): "the agent sent a message of unknown type \(type)"
        case .damaged(let type): "the agent sent a damaged message of type \(type)"
        case .unexpected(let what): "the agent sent \(what) out of turn"
        case .otherVersion(let version):
            "the agent speaks version \(version) of the protocol: use parts of penumbra that were built together"
        }
    }
}
