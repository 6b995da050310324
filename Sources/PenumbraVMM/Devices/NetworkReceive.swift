// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// The ring by which a guest receives (Xen's public/io/netif.h): requests are empty pages, of the guest's
/// number for the request (16 bits) and a grant; a frame takes as many as it needs. Answers have two words:
/// number (16 bits) and offset; flags (16 bits) and length. The guest finds a page by its answer's place in
/// the ring, so answers keep the order of the requests.
struct NetworkReceive {
    /// In words.
    static let slotSize = 2
    private static let pageSize = Int(PENUMBRA_PAGE_SIZE)

    private enum Flags {
        /// The checksums are right: a frame comes from this host, or was looked at there.
        static let validated: UInt32 = 1
        static let more: UInt32 = 4
    }

    private static let failed: Int16 = -1

    private var ring: BackRing
    private let grants: GrantTable

    init(_ ring: BackRing, grants: GrantTable) { (self.ring, self.grants) = (ring, grants) }

    /// Whether the guest has room for a frame of that many bytes.
    func hasRoom(for length: Int) throws -> Bool { try ring.available() >= Self.pages(length) }

    /// Asks for an event when there will be room.
    func awaitRoom(for length: Int) throws -> Bool { try ring.awaitRequests(Self.pages(length)) }

    private static func pages(_ length: Int) -> UInt32 { UInt32((length + pageSize - 1) / pageSize) }

    /// Gives the guest a frame that it has room for. One that it granted no room is lost, as frames
    /// are; the guest is told.
    mutating func deliver(_ frame: ArraySlice<UInt8>) throws {
        var rest = frame
        while !rest.isEmpty, let request = try ring.take() {
            let part = rest.prefix(Self.pageSize)
            rest = rest.dropFirst(part.count)
            let isWritten = try write(part, to: request[1])
            let flags = Flags.validated | (rest.isEmpty ? 0 : Flags.more)
            let status = isWritten ? Int16(part.count) : Self.failed
            try ring.answer([request[0] & 0xffff, flags | UInt32(UInt16(bitPattern: status)) << 16])
        }
    }

    private func write(_ part: ArraySlice<UInt8>, to reference: UInt32) throws -> Bool {
        guard let page = try? grants.map(reference, for: .readAndWrite) else { return false }
        try page.write(part)
        return true
    }

    /// Shows the guest the answers; says whether it wants an event for them.
    mutating func publish() throws -> Bool { try ring.publish() }
}
