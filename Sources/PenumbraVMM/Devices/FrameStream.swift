// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Ethernet frames on a stream socket, each behind its length in four bytes, the first the highest.
/// Nothing here waits.
struct FrameStream: Sendable {
    /// An Ethernet header, perhaps with a VLAN tag, and the longest IP packet.
    static let frameLimit = 18 + 65535
    /// So much may wait for the peer to take it before frames from the guest have to.
    private static let outputLimit = 256 << 10
    private static let readSize = 256 << 10
    private static let headerSize = 4

    enum Problem: Error, Equatable, CustomStringConvertible {
        case ended
        case frameTooLong(UInt32)

        var description: String {
            switch self {
            case .ended: "the network's other end is gone"
            case .frameTooLong(let length):
                "the network's other end sent a frame of \(length) bytes, more than one can have"
            }
        }
    }

    let socket: Descriptor
    private var output: [UInt8] = []
    private var sent = 0
    private var input: [UInt8] = []
    private var taken = 0

    init(_ socket: Descriptor) {
        socket.setNonblocking()
        self.socket = socket
    }

    var hasRoom: Bool { output.count < Self.outputLimit }
    var hasOutput: Bool { sent < output.count }

    /// Appends the frame that `make` appends to the bytes; whatever it made is dropped if it says false.
    mutating func append(_ make: (inout [UInt8]) throws -> Bool) rethrows {
        let start = output.count
        output += [0, 0, 0, 0]
        guard try make(&output) else { return output.removeSubrange(start...) }
        let length = UInt32(output.count - start - Self.headerSize)
        output.replaceSubrange(start..<(start + Self.headerSize), with: length.littleEndianBytes.reversed())
    }

    /// Sends what the peer takes.
    mutating func send() throws {
        while hasOutput, let count = try socket.send(some: output[sent...]) { sent += count }
        if !hasOutput { (output, sent) = ([], 0) }
    }

    /// Reads what there is, if no whole frame is here.
    mutating func receive() throws {
        guard try nextLength() == nil, let bytes = try socket.read(atMost: Self.readSize) else { return }
        guard !bytes.isEmpty else { throw Problem.ended }
        input = Array(input[taken...]) + bytes
        taken = 0
    }

    /// The length of the next frame, if all of it is here.
    func nextLength() throws(Problem) -> Int? {
        let rest = input[taken...]
        guard rest.count >= Self.headerSize else { return nil }
        let length = rest.prefix(Self.headerSize).reduce(0 as UInt32) { $0 << 8 | UInt32($1) }
        guard length <= Self.frameLimit else { throw .frameTooLong(length) }
        return rest.count >= Self.headerSize + Int(length) ? Int(length) : nil
    }

    /// That frame.
    mutating func take() throws(Problem) -> ArraySlice<UInt8>? {
        guard let length = try nextLength() else { return nil }
        let start = taken + Self.headerSize
        taken = start + length
        return input[start..<taken]
    }
}
