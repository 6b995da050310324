// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Testing

@testable import PenumbraVMM

@Suite struct MicroGuestImageTests {
    private func image(size: UInt64 = 16 << 20, commandLine: String = "a b") throws -> MicroGuestImage {
        try MicroGuestImage(
            program: ElfBuilder().build(), memory: try GuestMemory(size: size), cpus: 3,
            commandLine: commandLine, tscKHz: 1_000_000)
    }

    /// Translates as the CPU does; nil where nothing is mapped. All levels must have P, RW, US and no more.
    private func walk(_ address: UInt64, _ image: MicroGuestImage) throws -> UInt64? {
        var table = image.root
        for shift in [UInt64(39), 30, 21, 12] {
            let entry = try image.memory.load(at: table + ((address >> shift) & 511) * 8)
            if entry == 0 { return nil }
            #expect(entry & 0xfff == 7, "flags of the entry for \(address)")
            table = GuestPhysical(entry & ~0xfff)
        }
        return table.value
    }

    @Test func allMemoryIsMappedTwiceAndNothingElse() throws {
        let image = try image()
        for base in [0, UInt64(PTEST_DIRECT_MAP)] {
            for frame in 0..<image.memory.frames {
                #expect(try walk(base + frame << 12, image) == frame << 12)
            }
            #expect(try walk(base + image.memory.size, image) == nil)
        }
        let slots = try (0..<UInt64(512)).filter { try image.memory.load(at: image.root + $0 * 8) != 0 }
        #expect(slots == [0, 273])
    }

    @Test func bothMapsHaveTablesOfTheirOwn() throws {
        let image = try image()
        let tops = try [UInt64(0), 273].map { try image.memory.load(at: image.root + $0 * 8) & ~0xfff }
        #expect(tops[0] != tops[1])
        let thirds = try tops.map { try image.memory.load(at: GuestPhysical($0)) & ~0xfff }
        #expect(thirds[0] != thirds[1])
    }

    @Test func theStartPageSaysWhatIsWhere() throws {
        let image = try image(commandLine: "seconds=60")
        func field(_ path: PartialKeyPath<ptest_start>) throws -> UInt64 {
            try image.memory.load(at: image.start + UInt64(MemoryLayout<ptest_start>.offset(of: path)!))
        }
        #expect(try field(\.magic) == UInt64(PTEST_START_MAGIC))
        #expect(try field(\.ram_frames) == 4096)
        #expect(try field(\.root_frame) == image.root.frame)
        #expect(try field(\.info_address) == image.info.value)
        #expect(try field(\.tsc_khz) == 1_000_000)
        #expect(try field(\.vcpus) == 3)
        let text = try image.memory.read(
            11, at: image.start + UInt64(MemoryLayout<ptest_start>.offset(of: \ptest_start.command_line)!))
        #expect(text == Array("seconds=60".utf8) + [0])
        // Everything of the VMM's lies between the program and the first free frame.
        let firstFree = try field(\.first_free_frame)
        #expect(image.start.value == 0x102000)
        #expect(image.info > image.start && image.stackTop > image.info && image.root >= image.stackTop)
        #expect(firstFree == image.root.frame + PageTables.count(frames: 4096))
        for frame in firstFree..<4096 where try image.memory.load(at: GuestPhysical(frame: frame)) != 0 {
            Issue.record("frame \(frame) is not free")
        }
    }

    @Test func vcpuInfoAreasFollowOneAnotherAligned() throws {
        let image = try image()
        #expect(image.info(ofCPU: 0) == image.info)
        #expect(image.info(ofCPU: 2).value == image.info.value + 128)
        #expect(image.info.value % 64 == 0)
    }

    @Test func theProgramIsLoadedAndItsBssIsZero() throws {
        let image = try image()
        #expect(try image.memory.read(101, at: GuestPhysical(0x100000)) == Array(1...100) + [0])
    }

    @Test func aProgramThatLeavesNoRoomForTablesIsRefused() throws {
        #expect(throws: VMMError.self) { try image(size: 0x104000) }
        #expect(throws: VMMError.self) { try image(size: 1 << 20) }
        _ = try image(size: 2 << 20)
    }

    @Test func longCommandLinesAreRefused() throws {
        _ = try image(commandLine: String(repeating: "x", count: 511))
        #expect(throws: VMMError.commandLineTooLong(limit: 511)) {
            try image(commandLine: String(repeating: "x", count: 512))
        }
    }

    /// interface/penumbra/device.h: 64 to PENUMBRA_MAX_POOL_PAGES, whole chunks.
    @Test(arguments: [nil, 64, 65, 1000, Int(PENUMBRA_MAX_POOL_PAGES) + 1])
    func poolLimitsAreWholeChunksWithinBounds(_ pages: Int?) {
        for frames in [UInt64(256), 4096, UInt64(PENUMBRA_MAX_FRAMES)] {
            let limit = GuestOptions.poolLimit(pages, frames: frames)
            #expect(limit % UInt32(PENUMBRA_POOL_CHUNK) == 0)
            #expect((64...UInt32(PENUMBRA_MAX_POOL_PAGES)).contains(limit))
            if let pages, pages < Int(PENUMBRA_MAX_POOL_PAGES) { #expect(limit >= pages) }
        }
    }
}
