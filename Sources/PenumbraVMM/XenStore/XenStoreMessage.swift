// SPDX-License-Identifier: Apache-2.0

/// One message of the xenstore protocol (Xen's public/io/xs_wire.h).
struct XenStoreMessage: Equatable {
    enum Kind: UInt32 {
        case directory = 1
        case read, getPermissions, watch, unwatch, transactionStart, transactionEnd
        case domainPath = 10
        case write, makeDirectory, remove, setPermissions
        case watchEvent = 15
        case error
        case isDomainIntroduced
    }

    static let headerSize = 16
    static let payloadLimit = 4096

    /// A `Kind`, or whatever else the guest sent.
    var type: UInt32
    var request: UInt32
    var transaction: UInt32
    var payload: [UInt8]

    var bytes: [UInt8] {
        [type, request, transaction, UInt32(payload.count)].flatMap(\.littleEndianBytes) + payload
    }
}

/// Cuts a stream of bytes, in whatever pieces, into messages.
struct XenStoreDecoder {
    struct PayloadTooLong: Error, Equatable {}

    private var bytes: [UInt8] = []

    mutating func append(_ more: [UInt8]) { bytes += more }

    /// nil: more bytes are needed.
    mutating func next() throws(PayloadTooLong) -> XenStoreMessage? {
        guard let length = bytes.number(at: 12, as: UInt32.self) else { return nil }
        guard length <= XenStoreMessage.payloadLimit else { throw PayloadTooLong() }
        let size = XenStoreMessage.headerSize + Int(length)
        guard bytes.count >= size else { return nil }
        defer { bytes.removeFirst(size) }
        // The fourth number of the header was there, so are the others.
        func number(_ index: Int) -> UInt32 { bytes.number(at: index * 4, as: UInt32.self)! }
        return XenStoreMessage(
            type: number(0), request: number(1), transaction: number(2),
            payload: Array(bytes[XenStoreMessage.headerSize..<size]))
    }
}
