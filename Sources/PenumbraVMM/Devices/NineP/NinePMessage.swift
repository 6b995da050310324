// SPDX-License-Identifier: Apache-2.0

/// A message of 9P2000.L (Linux' include/net/9p/9p.h; the protocol's description is diod's protocol.md):
///
///     size of it all, 4 bytes    kind, 1 byte    tag, 2 bytes    the kind's fields
///
/// Numbers are little-endian; texts and names are 2 bytes of length and so many of text. The tag tells
/// which request an answer is for; an answer's kind is its request's and one.
struct NinePMessage: Sendable {
    static let headerSize = 7

    let bytes: [UInt8]

    /// A whole message, its size's bytes included.
    init(_ bytes: [UInt8]) {
        precondition(bytes.count >= Self.headerSize)
        self.bytes = bytes
    }

    var kind: UInt8 { bytes[4] }
    var tag: UInt16 { UInt16(bytes[5]) | UInt16(bytes[6]) << 8 }
    var fields: ArraySlice<UInt8> { bytes[Self.headerSize...] }
}

/// Takes a message's fields, one behind the other; nothing is believed about their lengths.
struct NinePFields {
    private var rest: ArraySlice<UInt8>

    init(_ fields: ArraySlice<UInt8>) { rest = fields }

    mutating func number<Number: FixedWidthInteger>(
        _: Number.Type = Number.self
    ) throws(NinePFailure) -> Number {
        guard let number = rest.number(at: 0, as: Number.self) else { throw .malformed }
        rest = rest.dropFirst(Number.bitWidth / 8)
        return number
    }

    mutating func bytes(_ count: Int) throws(NinePFailure) -> ArraySlice<UInt8> {
        guard count <= rest.count else { throw .malformed }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    mutating func text() throws(NinePFailure) -> [UInt8] {
        Array(try bytes(Int(try number(UInt16.self))))
    }

    mutating func name() throws(NinePFailure) -> NinePName { try NinePName(try text()) }

    /// A message has no more than its fields.
    func end() throws(NinePFailure) { if !rest.isEmpty { throw .malformed } }
}

/// What identifies a file to the guest.
struct NinePQid: Equatable {
    /// Bit 7: a directory; bit 1: a symbolic link.
    let kind: UInt8
    let path: UInt64

    static let size = 13
}

/// An answer in the making. Its size is filled in at the end.
struct NinePAnswer {
    private static let error: UInt8 = 7

    /// Fields, one behind the other.
    struct Part {
        fileprivate(set) var bytes: [UInt8] = []

        mutating func add(_ number: some FixedWidthInteger) { bytes += number.littleEndianBytes }

        mutating func add(text: [UInt8]) {
            add(UInt16(text.count))
            bytes += text
        }

        mutating func add(_ qid: NinePQid) {
            add(qid.kind)
            // The version: nothing of what a guest keeps may depend on when a file changed, for it would
            // take one file of two names for two.
            add(0 as UInt32)
            add(qid.path)
        }
    }

    private var part = Part()

    init(to message: NinePMessage) { self.init(kind: message.kind &+ 1, tag: message.tag) }

    init(_ failure: NinePFailure, to message: NinePMessage) {
        self.init(kind: Self.error, tag: message.tag)
        add(UInt32(bitPattern: failure.code))
    }

    private init(kind: UInt8, tag: UInt16) {
        part.bytes = [0, 0, 0, 0, kind, UInt8(truncatingIfNeeded: tag), UInt8(tag >> 8)]
    }

    mutating func add(_ number: some FixedWidthInteger) { part.add(number) }
    mutating func add(text: [UInt8]) { part.add(text: text) }
    mutating func add(_ qid: NinePQid) { part.add(qid) }

    /// A count of 4 bytes, and so many bytes that `fill` appends.
    mutating func addData(_ fill: (inout [UInt8]) throws(NinePFailure) -> Void) throws(NinePFailure) {
        let start = part.bytes.count
        add(0 as UInt32)
        try fill(&part.bytes)
        put(part.bytes.count - start - 4, at: start)
    }

    /// The whole message.
    consuming func finished() -> [UInt8] {
        put(part.bytes.count, at: 0)
        return part.bytes
    }

    private mutating func put(_ count: Int, at offset: Int) {
        for index in 0..<4 { part.bytes[offset + index] = UInt8(truncatingIfNeeded: count >> (8 * index)) }
    }
}
