// SPDX-License-Identifier: Apache-2.0
import CPenumbra

@testable import PenumbraVMM

/// What a guest's driver does in its memory: grants, and one side of a ring. Frames and grants have the
/// same numbers here unless a test says otherwise.
struct GuestDriver: Sendable {
    static let frames: UInt32 = 256

    let special: GuestMemory
    let ram: GuestMemory
    let grants: GrantTable

    init() throws {
        special = try XenSpecialFrames(ramFrames: Self.frames).memory
        ram = try GuestMemory(size: UInt64(Self.frames) * UInt64(PENUMBRA_PAGE_SIZE))
        grants = GrantTable(special: special, ram: ram)
    }

    enum Rights: UInt64 {
        case none = 0
        case readAndWrite = 1
        case read = 5
    }

    private func entry(_ reference: UInt32) -> GuestPhysical {
        GuestPhysical(frame: UInt64(XENPV_GRANT_OFFSET)) + UInt64(reference) * 8
    }

    func grant(_ reference: UInt32, frame: UInt64? = nil, _ rights: Rights = .readAndWrite) throws {
        try special.store(rights.rawValue | (frame ?? UInt64(reference)) << 32, at: entry(reference))
    }

    /// Whether the guest could not take the grant back now.
    func isInUse(_ reference: UInt32) throws -> Bool { try special.load(at: entry(reference)) & 0x18 != 0 }

    func fill(frame: UInt64, with byte: UInt8) throws {
        try ram.write([UInt8](repeating: byte, count: 4096)[...], at: GuestPhysical(frame: frame))
    }

    func bytes(frame: UInt64) throws -> [UInt8] { try ram.read(4096, at: GuestPhysical(frame: frame)) }
}

/// The guest's side of a ring in one page (Xen's public/io/ring.h), as a driver has it, or worse.
struct FrontRing: Sendable {
    let driver: GuestDriver
    let page: GuestPhysical
    /// In 32-bit words.
    let slotSize: Int
    let slots: UInt32
    private(set) var produced: UInt32 = 0
    private(set) var consumed: UInt32 = 0

    init(_ driver: GuestDriver, frame: UInt32, slotSize: Int, slots: UInt32) throws {
        (self.driver, page) = (driver, GuestPhysical(frame: UInt64(frame)))
        (self.slotSize, self.slots) = (slotSize, slots)
        try driver.grant(frame)
        try driver.ram.storeShared(1, at: page + 4)
        try driver.ram.storeShared(1, at: page + 12)
    }

    private func slot(_ index: UInt32) -> GuestPhysical {
        page + 64 + UInt64(index & (slots - 1)) * UInt64(slotSize * 4)
    }

    /// Puts a request in; says whether the host wants an event.
    @discardableResult
    mutating func put(_ request: [UInt32]) throws -> Bool {
        try driver.ram.write(request.flatMap(\.littleEndianBytes)[...], at: slot(produced))
        produced &+= 1
        try driver.ram.storeShared(produced, at: page)
        return try driver.ram.loadShared(at: page + 4) == produced
    }

    /// The responses that have come, and asks for an event at the next. Ends in a ring that a test had
    /// written over, too.
    mutating func take() throws -> [[UInt32]] {
        var responses: [[UInt32]] = []
        repeat {
            while responses.count < slots, consumed != (try driver.ram.loadShared(at: page + 8)) {
                let bytes = try driver.ram.read(slotSize * 4, at: slot(consumed))
                responses.append((0..<slotSize).map { bytes.number(at: $0 * 4, as: UInt32.self)! })
                consumed &+= 1
            }
            try driver.ram.storeShared(consumed &+ 1, at: page + 12)
        } while try responses.count < slots && consumed != driver.ram.loadShared(at: page + 8)
        return responses
    }

    /// What no driver does.
    func claim(produced: UInt32) throws { try driver.ram.storeShared(produced, at: page) }
}
