// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Testing

@testable import PenumbraVMM

@Suite struct GrantTableTests {
    private let special: GuestMemory
    private let table: GrantTable

    init() throws {
        special = try XenSpecialFrames(ramFrames: 256).memory
        table = GrantTable(special: special, ram: try GuestMemory(size: 1 << 20))
    }

    private func entry(_ reference: UInt32) -> GuestPhysical {
        GuestPhysical(frame: UInt64(XENPV_GRANT_OFFSET)) + UInt64(reference) * 8
    }

    private func grant(_ reference: UInt32, flags: UInt64, domain: UInt64 = 0, frame: UInt64) throws {
        try special.store(flags | domain << 16 | frame << 32, at: entry(reference))
    }

    private func flags(_ reference: UInt32) throws -> UInt32 {
        try special.loadShared(at: entry(reference)) & 0xffff
    }

    @Test(arguments: [0, 8, 513, 32767] as [UInt32]) func aGrantIsInUseWhileItIsMapped(_ reference: UInt32)
        throws
    {
        try grant(reference, flags: 1, frame: 255)
        do {
            let mapping = try table.map(reference, for: .readAndWrite)
            #expect(mapping.frame == 255 && mapping.ram === table.ram)
            #expect(try flags(reference) == 1 | 8 | 16)
            // The guest's other bits survive the end.
            try special.storeShared(0x20 | 1 | 8 | 16, at: entry(reference))
            withExtendedLifetime(mapping) {}
        }
        #expect(try flags(reference) == 0x21)
    }

    @Test func aReadOnlyGrantIsForReading() throws {
        try grant(9, flags: 1 | 4, frame: 3)
        #expect(throws: GrantTable.Problem.notGranted(9)) { try table.map(9, for: .readAndWrite) }
        #expect(try flags(9) == 5)
        let mapping = try table.map(9, for: .read)
        #expect(try flags(9) == 5 | 8)
        withExtendedLifetime(mapping) {}
    }

    /// Free, for a transfer, or for another domain.
    @Test(arguments: [(0, 0), (2, 0), (3, 0), (1, 7)] as [(UInt64, UInt64)])
    func whatIsNotGrantedIsRefused(_ flags: UInt64, _ domain: UInt64) throws {
        try grant(5, flags: flags, domain: domain, frame: 3)
        #expect(throws: GrantTable.Problem.notGranted(5)) { try table.map(5, for: .read) }
        #expect(try self.flags(5) == UInt32(flags))
    }

    @Test(arguments: [256, 257, 0xffff_ffff] as [UInt64]) func framesThatAreNoRAMAreRefused(_ frame: UInt64)
        throws
    {
        try grant(5, flags: 1, frame: frame)
        #expect(throws: GrantTable.Problem.badFrame(5)) { try table.map(5, for: .readAndWrite) }
        #expect(try flags(5) == 1)
    }

    @Test(arguments: [32768, UInt32.max] as [UInt32]) func entriesBeyondTheTableAreRefused(
        _ reference: UInt32
    ) {
        #expect(throws: GrantTable.Problem.noSuchEntry(reference)) { try table.map(reference, for: .read) }
    }

    @Test func aGrantIsInUseUntilTheLastOfItsMappingsGoes() throws {
        try grant(9, flags: 1, frame: 3)
        var reader: GrantMapping? = try table.map(9, for: .read)
        var writer: GrantMapping? = try table.map([9, 9], for: .readAndWrite)
        #expect(try flags(9) == 1 | 8 | 16)
        withExtendedLifetime(writer) {}
        writer = nil
        #expect(try flags(9) == 1 | 8)
        withExtendedLifetime(reader) {}
        reader = nil
        #expect(try flags(9) == 1)
    }

    @Test func allGrantsAreMappedOrNone() throws {
        try grant(9, flags: 1, frame: 3)
        try grant(10, flags: 1, frame: 9999)
        #expect(throws: GrantTable.Problem.badFrame(10)) { try table.map([9, 10], for: .read) }
        #expect(try flags(9) == 1 && flags(10) == 1)
    }
}
