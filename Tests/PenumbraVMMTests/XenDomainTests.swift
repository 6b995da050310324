// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// A built domain, read as the guest's CPU and kernel would.
private struct Domain {
    let image: XenDomainImage
    var layout: XenDomainLayout { image.layout }

    init(
        _ builder: KernelBuilder = KernelBuilder(), initrd: [UInt8]? = nil, mebibytes: UInt64 = 32,
        commandLine: String = "console=hvc0"
    ) throws {
        try self.init(file: builder.elf(), initrd: initrd, mebibytes: mebibytes, commandLine: commandLine)
    }

    init(file: [UInt8], initrd: [UInt8]?, mebibytes: UInt64, commandLine: String = "") throws {
        let memory = try GuestMemory(size: mebibytes << 20)
        let kernel = try KernelImage(file, memoryLimit: memory.size)
        image = try XenDomainImage(kernel, initrd: initrd, memory: memory, commandLine: commandLine)
    }

    /// The leaf entry for an address; nil where nothing is mapped. Upper levels must have all flags.
    func entry(_ address: UInt64) throws -> UInt64? {
        var table = GuestPhysical(frame: image.root)
        for shift in [UInt64(39), 30, 21] {
            let entry = try image.memory.load(at: table + ((address >> shift) & 511) * 8)
            if entry == 0 { return nil }
            #expect(entry & 0xfff == 0x67)
            table = GuestPhysical(entry & ~0xfff)
        }
        let entry = try image.memory.load(at: table + ((address >> 12) & 511) * 8)
        return entry == 0 ? nil : entry
    }

    func frame(of address: UInt64) throws -> UInt64 { try #require(try entry(address)) >> 12 }

    func word(_ frame: UInt64, _ index: UInt64) throws -> UInt64 {
        try image.memory.load(at: GuestPhysical(frame: frame) + index * 8)
    }

    private func address(of field: PartialKeyPath<xenpv_start_info>) -> GuestPhysical {
        GuestPhysical(frame: layout.startInfo) + UInt64(MemoryLayout<xenpv_start_info>.offset(of: field)!)
    }

    func field(_ field: KeyPath<xenpv_start_info, UInt64>) throws -> UInt64 {
        try image.memory.load(at: address(of: field))
    }

    func field(_ field: KeyPath<xenpv_start_info, UInt32>) throws -> UInt32 {
        try #require(try image.memory.read(4, at: address(of: field)).number(at: 0, as: UInt32.self))
    }

    func commandLine() throws -> String {
        let bytes = try image.memory.read(1024, at: address(of: \xenpv_start_info.command_line))
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}

@Suite struct XenDomainTests {
    private static let base = KernelBuilder.virtualBase
    private static let initrd = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }

    @Test func theLayoutIsThatOfXensToolstack() throws {
        let layout = try Domain(initrd: Self.initrd).layout
        let kernelEnd: UInt64 = 0x1003
        #expect(layout.startInfo == kernelEnd)
        #expect(layout.xenStore == kernelEnd + 1 && layout.console == kernelEnd + 2)
        #expect(layout.tables.lowerBound == kernelEnd + 3)
        #expect(layout.stack == layout.tables.upperBound)
        #expect(layout.mappedEnd % 1024 == 0 && layout.mappedEnd >= layout.stack + 1 + 128)
        #expect(layout.mappedEnd - 1024 < layout.stack + 1 + 128)
        // 20 MiB: a top-level, a third-, a second-level table, ten of the first level.
        #expect(layout.mappedEnd == 5120 && layout.tables.count == 13)
        #expect(layout.initrd == layout.mappedEnd..<(layout.mappedEnd + 3))
        #expect(layout.p2m == (layout.mappedEnd + 3)..<(layout.mappedEnd + 19))
        #expect(layout.p2mTables == layout.p2m.upperBound..<(layout.p2m.upperBound + 3))
    }

    @Test func theFirstMappingCoversItsFramesAndNoMore() throws {
        let domain = try Domain()
        for frame in 0..<domain.layout.mappedEnd {
            let writable: UInt64 = domain.layout.tables.contains(frame) ? 0 : 2
            #expect(try domain.entry(Self.base + frame << 12) == frame << 12 | 0x21 | writable)
        }
        #expect(try domain.entry(Self.base + domain.layout.mappedEnd << 12) == nil)
        let slots = try (0..<UInt64(512)).filter { try domain.word(domain.image.root, $0) != 0 }
        #expect(slots == [1, 511])
        let thirds = try domain.word(domain.image.root, 511) >> 12
        #expect(try (0..<UInt64(512)).filter { try domain.word(thirds, $0) != 0 } == [510])
        // From the top level down, as Linux likes to have them.
        #expect(thirds == domain.image.root + 1)
        #expect(try domain.word(thirds, 510) >> 12 == domain.image.root + 2)
    }

    @Test func everyTableIsUsedOnce() throws {
        let domain = try Domain()
        func tables(_ frame: UInt64, level: Int) throws -> [UInt64] {
            guard level > 1 else { return [frame] }
            let children = try (0..<UInt64(512)).map { try domain.word(frame, $0) }.filter { $0 != 0 }
            return try [frame] + children.flatMap { try tables($0 >> 12, level: level - 1) }
        }
        let used = try tables(domain.image.root, level: 4)
        #expect(used.sorted() == Array(domain.layout.tables) + Array(domain.layout.p2mTables))
    }

    @Test func theP2MIsTheIdentityAtItsAddress() throws {
        let domain = try Domain(mebibytes: 33)
        let (layout, ram) = (domain.layout, UInt64(33 << 8))
        #expect(layout.p2m.count == 17)
        for (index, frame) in layout.p2m.enumerated() {
            #expect(try domain.frame(of: KernelBuilder.p2mAddress + UInt64(index) << 12) == frame)
        }
        #expect(try domain.entry(KernelBuilder.p2mAddress + UInt64(layout.p2m.count) << 12) == nil)
        for index in 0..<(UInt64(layout.p2m.count) * 512) {
            #expect(try domain.word(layout.p2m.lowerBound, index) == (index < ram ? index : .max))
        }
    }

    @Test func startInfoSaysWhatIsWhere() throws {
        let domain = try Domain(initrd: Self.initrd, commandLine: "a=b c")
        let layout = domain.layout
        #expect(domain.image.startInfo == Self.base + layout.startInfo << 12)
        #expect(domain.image.stackTop == Self.base + (layout.stack + 1) << 12)
        #expect(domain.image.entry == Self.base + 0x100_0040)
        #expect(
            try domain.image.memory.read(15, at: GuestPhysical(frame: layout.startInfo))
                == Array("xen-3.0-x86_64\0".utf8))
        #expect(try domain.field(\.nr_pages) == 8192)
        #expect(try domain.field(\.shared_info) == 8192 << 12)
        #expect(try domain.field(\.flags) == 8 | 16)
        #expect(try domain.field(\.store_frame) == layout.xenStore)
        #expect(try domain.field(\.store_port) == 1)
        #expect(try domain.field(\.console_frame) == layout.console)
        #expect(try domain.field(\.console_port) == 2)
        #expect(try domain.frame(of: domain.field(\.page_tables)) == domain.image.root)
        #expect(try domain.field(\.page_table_frames) == UInt64(layout.tables.count))
        #expect(try domain.field(\.p2m) == KernelBuilder.p2mAddress)
        #expect(try domain.field(\.first_p2m_frame) == layout.p2m.lowerBound)
        #expect(try domain.field(\.p2m_frames) == 16 + 3)
        #expect(try domain.field(\.module_start) == layout.initrd?.lowerBound)
        #expect(try domain.field(\.module_size) == 10_000)
        #expect(try domain.commandLine() == "a=b c")
    }

    @Test func kernelAndInitrdAreInTheirPlaces() throws {
        let domain = try Domain(initrd: Self.initrd)
        #expect(try domain.image.memory.read(7, at: GuestPhysical(0x100_0000)) == Array("kernel\0".utf8))
        let frame = try domain.field(\.module_start)
        #expect(try domain.image.memory.read(10_000, at: GuestPhysical(frame: frame)) == Self.initrd)
        for page in [domain.layout.xenStore, domain.layout.console, domain.layout.stack] {
            #expect(try domain.image.memory.read(4096, at: GuestPhysical(frame: page)).allSatisfy { $0 == 0 })
        }
    }

    @Test func withoutAnInitrdThereIsNone() throws {
        let domain = try Domain()
        #expect(domain.layout.initrd == nil)
        #expect(try domain.field(\.module_start) == 0 && domain.field(\.module_size) == 0)
        #expect(try domain.field(\.flags) == 16)
    }

    /// Without the notes MOD_START_PFN and INIT_P2M both lie in the first mapping.
    @Test func olderKernelsFindAllInTheFirstMapping() throws {
        var builder = KernelBuilder()
        builder.set(15, nil)
        builder.set(16, nil)
        let domain = try Domain(builder, initrd: Self.initrd)
        let module = try domain.field(\.module_start)
        #expect(module == Self.base + 0x1003 << 12)
        #expect(try domain.frame(of: module) == 0x1003)
        let p2m = try domain.field(\.p2m)
        #expect(p2m == Self.base + 0x1006 << 12)
        #expect(try domain.word(domain.frame(of: p2m), 511) == 511)
        #expect(try domain.field(\.flags) == 16 && domain.field(\.first_p2m_frame) == 0)
        #expect(domain.layout.startInfo == 0x1006 + 16 && domain.layout.p2mTables.isEmpty)
    }

    @Test func theHypercallPageIsFilledWhereThereIsOne() throws {
        var builder = KernelBuilder()
        builder.set(2, (Self.base + 0x100_1000).littleEndianBytes)
        let domain = try Domain(builder)
        let page = try domain.image.memory.read(4096, at: GuestPhysical(0x100_1000))
        #expect(
            page[0..<14] == [0x51, 0x41, 0x53, 0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3][...])
        #expect(Array(page[(32 * 34)..<(32 * 34 + 8)]) == [0x51, 0x41, 0x53, 0xb8, 34, 0, 0, 0])
        #expect(
            Array(page[(32 * 23)..<(32 * 23 + 11)]) == [
                0x51, 0x41, 0x53, 0x50, 0xb8, 23, 0, 0, 0, 0x0f, 0x05,
            ])
        #expect(page.count == 4096 && page[4095] == 0xcc)
    }

    @Test(arguments: [0, base + 0x100_1001, base + 0x100_3000, 0xffff_ffff_ffff_f000] as [UInt64])
    func hypercallPagesElsewhereAreRefused(_ address: UInt64) {
        var builder = KernelBuilder()
        builder.set(2, address.littleEndianBytes)
        #expect(throws: VMMError.domain(.badNote("HYPERCALL_PAGE", address))) { _ = try Domain(builder) }
    }

    @Test func impossibleAddressesAreRefused() {
        let impossible: [(type: UInt32, name: String, value: UInt64)] = [
            (3, "VIRT_BASE", 0x8000_0000_0000), (3, "VIRT_BASE", Self.base + 1),
            (15, "INIT_P2M", 0x80_0000_0001), (15, "INIT_P2M", Self.base),
            (15, "INIT_P2M", 0x80_0000_1000), (15, "INIT_P2M", 1 << 50),
        ]
        for (type, name, value) in impossible {
            var builder = KernelBuilder()
            builder.set(type, value.littleEndianBytes)
            #expect(throws: VMMError.domain(.badNote(name, value))) { _ = try Domain(builder) }
        }
    }

    @Test func tooLittleMemoryIsTold() throws {
        #expect(throws: VMMError.domain(.memory(needed: 5120 + 10 + 3, given: 20 << 8))) {
            _ = try Domain(mebibytes: 20)
        }
        _ = try Domain(mebibytes: 21)
        let initrd = [UInt8](repeating: 1, count: 12 << 20)
        #expect(throws: VMMError.self) { _ = try Domain(initrd: initrd, mebibytes: 32) }
        _ = try Domain(initrd: initrd, mebibytes: 33)
    }

    /// Linux copies one second-level table: it maps 1 GiB.
    @Test func kernelsThatDoNotFitTheFirstMappingAreTold() throws {
        let notes = try KernelImage(KernelBuilder().elf(), memoryLimit: 32 << 20).notes
        func layout(_ kernelEnd: UInt64) throws -> XenDomainLayout {
            try XenDomainLayout(kernelEnd: kernelEnd, initrdSize: nil, ramFrames: 1 << 20, notes: notes)
        }
        // 515 tables, three pages, the stack and the reserve below 1 GiB.
        #expect(try layout(262_144 - 128 - 1 - 515 - 3).mappedEnd == 262_144)
        #expect(throws: XenDomainLayout.Problem.mapping(frames: 263_168)) {
            try layout(262_144 - 128 - 1 - 515 - 2)
        }
    }

    @Test func longCommandLinesAreRefused() throws {
        let longest = String(repeating: "x", count: 1023)
        #expect(try Domain(commandLine: longest).commandLine() == longest)
        #expect(throws: VMMError.commandLineTooLong(limit: 1023)) {
            _ = try Domain(commandLine: longest + "x")
        }
    }

    @Test(.enabled(if: !KernelBuilder.debianKernels.isEmpty), arguments: KernelBuilder.debianKernels)
    func debiansKernelsAreBuilt(_ path: String) throws {
        let domain = try Domain(
            file: try Files.read(path), initrd: Self.initrd, mebibytes: 128, commandLine: "quiet")
        // The code at the entry point: cld.
        let entry = try domain.entry(domain.image.entry & ~4095)
        let physical = try GuestPhysical((#require(entry) & ~0xfff) + domain.image.entry & 4095)
        #expect(try domain.image.memory.read(1, at: physical) == [0xfc])
        #expect(try domain.frame(of: domain.image.startInfo) == domain.layout.startInfo)
        #expect(try domain.field(\.nr_pages) == 32768)
        #expect(throws: (any Error).self) {
            _ = try Domain(file: try Files.read(path), initrd: nil, mebibytes: 64)
        }
    }
}

@Suite struct XenSpecialFramesTests {
    /// Frames of memory whose map needs one level-1 table, and more than one; not all of the last used.
    private static let sizes: [UInt32] = [256, 512 * 512 + 513]

    @Test(arguments: sizes) func theRegionsAreThoseOfTheInterface(_ ram: UInt32) throws {
        let special = try XenSpecialFrames(ramFrames: ram)
        let map = xenpv_m2p_frame(ram)
        #expect(special.sharedInfo == GuestPhysical(frame: UInt64(ram)))
        let regions = special.regions
        #expect(regions.map(\.first_frame) == [ram, map])
        #expect(regions.map(\.frame_count) == [map - ram, (ram + 511) / 512])
        #expect(regions.map(\.flags) == [0, 1])
        #expect(regions.map(\.offset) == [0, UInt64(map - ram) << 12])
        #expect(regions.reduce(0) { $0 + $1.frame_count } == xenpv_special_frames(ram))
        #expect(special.memory.frames == UInt64(xenpv_special_frames(ram)))
    }

    @Test func eventsAreMaskedAndTheRestIsZero() throws {
        let special = try XenSpecialFrames(ramFrames: 256)
        for cpu in 0..<UInt64(32) {
            #expect(try special.memory.load(at: GuestPhysical(cpu * 64)) == 0x100)
        }
        #expect(try special.memory.read(65 * 4096 - 2048, at: GuestPhysical(2048)).allSatisfy { $0 == 0 })
    }

    /// Walks the tables from the top of their slot, as the core does.
    @Test(arguments: sizes) func theMapIsTheIdentityAndReadOnly(_ ram: UInt32) throws {
        let special = try XenSpecialFrames(ramFrames: ram)
        let addresses: UInt64 = 0x000f_ffff_ffff_f000
        func entry(_ table: UInt64, _ index: UInt64) throws -> UInt64 {
            try special.memory.load(at: GuestPhysical(frame: table - UInt64(ram)) + index * 8)
        }
        func table(_ entry: UInt64) -> UInt64 {
            #expect(entry & ~addresses == 0x27)
            return entry >> 12
        }
        let third = UInt64(xenpv_m2p_tables_frame(ram))
        let second = table(try entry(third, 0))
        for page in 0..<UInt64(xenpv_m2p_frames(ram)) {
            let leaf = try entry(table(try entry(second, page >> 9)), page & 511)
            #expect(leaf & ~addresses == UInt64(1) << 63 | 0x21)
            let frame = (leaf & addresses) >> 12
            #expect(frame == UInt64(xenpv_m2p_frame(ram)) + page)
            for index in [0, 511] as [UInt64] where page * 512 + index < UInt64(ram) {
                #expect(try entry(frame, index) == page * 512 + index)
            }
        }
    }

    @Test func nothingBehindTheMapIsMapped() throws {
        let ram: UInt32 = 512 * 3
        let special = try XenSpecialFrames(ramFrames: ram)
        let tables = GuestPhysical(frame: UInt64(xenpv_m2p_tables_frame(ram) - ram))
        let present = try (0..<UInt64(3 * 512)).filter { try special.memory.load(at: tables + $0 * 8) != 0 }
        #expect(present == [0, 512, 1024, 1025, 1026])
    }
}
