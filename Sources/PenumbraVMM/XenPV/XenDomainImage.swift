// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// A Xen PV guest in its memory, ready to run; see XenDomainLayout for what is where.
struct XenDomainImage: Sendable {
    private static let frameSize = UInt64(PENUMBRA_PAGE_SIZE)
    private static let absent = UInt64.max

    let layout: XenDomainLayout
    let memory: GuestMemory
    let entry: UInt64

    var root: UInt64 { layout.tables.lowerBound }
    var stackTop: UInt64 { layout.address(of: layout.stack + 1) }
    var startInfo: UInt64 { layout.address(of: layout.startInfo) }

    init(
        _ kernel: KernelImage, initrd: [UInt8]?, memory: GuestMemory, commandLine: String
    ) throws(VMMError) {
        let end = (kernel.program.end + Self.frameSize - 1) / Self.frameSize
        do {
            layout = try XenDomainLayout(
                kernelEnd: end, initrdSize: initrd.map { UInt64($0.count) }, ramFrames: memory.frames,
                notes: kernel.notes)
        } catch { throw .domain(error) }
        self.memory = memory
        entry = kernel.notes.entry
        try kernel.program.load(into: memory)
        if let page = kernel.notes.hypercallPage { try fillHypercallPage(page, kernelEnd: end) }
        if let initrd, let frames = layout.initrd {
            try memory.write(initrd[...], at: GuestPhysical(frame: frames.lowerBound))
        }
        try fillP2M()
        try makeTables()
        try writeStartInfo(initrd: initrd, initrdIsMapped: !kernel.notes.moduleIsFrame, commandLine)
    }

    // MARK: Memory

    /// Entry i: the machine frame of frame i, which is i; the last page's rest is of no frame.
    private func fillP2M() throws(VMMError) {
        let start = GuestPhysical(frame: layout.p2m.lowerBound)
        for index in 0..<(UInt64(layout.p2m.count) * GuestTables.entries) {
            try memory.store(index < memory.frames ? index : Self.absent, at: start + index * 8)
        }
    }

    private func makeTables() throws(VMMError) {
        var tables = GuestTables(in: memory, frames: layout.tables)
        try tables.map(0..<layout.mappedEnd, at: layout.virtualBase)
        if !layout.p2mTables.isEmpty {
            try tables.map(layout.p2m, at: layout.p2mAddress, tables: layout.p2mTables)
        }
    }

    private func fillHypercallPage(_ address: UInt64, kernelEnd: UInt64) throws(VMMError) {
        let offset = address &- layout.virtualBase
        guard offset % Self.frameSize == 0, offset / Self.frameSize < kernelEnd else {
            throw .domain(.badNote("HYPERCALL_PAGE", address))
        }
        try memory.write(HypercallPage.bytes[...], at: GuestPhysical(offset))
    }

    // MARK: start_info

    private func writeStartInfo(
        initrd: [UInt8]?, initrdIsMapped: Bool, _ commandLine: String
    ) throws(VMMError) {
        let text = Array(commandLine.utf8) + [0]
        let limit = Int(XENPV_COMMAND_LINE_SIZE)
        guard text.count <= limit else { throw .commandLineTooLong(limit: limit - 1) }
        let sharedInfo = xenpv_shared_info_frame(UInt32(memory.frames))
        var flags = UInt32(XENPV_START_FLAT_P2M)
        try put(\.magic, Array("xen-3.0-x86_64".utf8))
        try put(\.nr_pages, memory.frames)
        try put(\.shared_info, GuestPhysical(frame: UInt64(sharedInfo)).value)
        try put(\.store_frame, layout.xenStore)
        try put(\.store_port, UInt32(XENPV_PORT_XENSTORE))
        try put(\.console_frame, layout.console)
        try put(\.console_port, UInt32(XENPV_PORT_CONSOLE))
        try put(\.page_tables, layout.address(of: root))
        try put(\.page_table_frames, UInt64(layout.tables.count))
        try put(\.p2m, layout.p2mAddress)
        try put(\.command_line, text)
        if !layout.p2mTables.isEmpty {
            try put(\.first_p2m_frame, layout.p2m.lowerBound)
            try put(\.p2m_frames, UInt64(layout.p2m.count + layout.p2mTables.count))
        }
        if let initrd, let frame = layout.initrd?.lowerBound {
            if !initrdIsMapped { flags |= UInt32(XENPV_START_MODULE_IS_FRAME) }
            try put(\.module_start, initrdIsMapped ? layout.address(of: frame) : frame)
            try put(\.module_size, UInt64(initrd.count))
        }
        try put(\.flags, flags)
    }

    private func put(
        _ field: PartialKeyPath<xenpv_start_info>, _ value: some FixedWidthInteger
    ) throws(VMMError) {
        try put(field, value.littleEndianBytes)
    }

    private func put(_ field: PartialKeyPath<xenpv_start_info>, _ bytes: [UInt8]) throws(VMMError) {
        let offset = UInt64(MemoryLayout<xenpv_start_info>.offset(of: field)!)
        try memory.write(bytes[...], at: GuestPhysical(frame: layout.startInfo) + offset)
    }
}

/// The page of stubs through which older kernels make hypercalls: 32 bytes for each number (Xen's
/// pv_ring3_init_hypercall_page).
enum HypercallPage {
    private static let iret = UInt32(PENUMBRA_HYPERCALL_IRET)

    static let bytes: [UInt8] = (UInt32(0)..<128).flatMap { number -> [UInt8] in
        let stub = number == iret ? jumped(number) : called(number)
        return stub + [UInt8](repeating: 0xcc, count: 32 - stub.count)
    }

    /// push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
    private static func called(_ number: UInt32) -> [UInt8] {
        [0x51, 0x41, 0x53, 0xb8] + number.littleEndianBytes + [0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]
    }

    /// push rcx; push r11; push rax; mov eax, number; syscall: does not come back
    private static func jumped(_ number: UInt32) -> [UInt8] {
        [0x51, 0x41, 0x53, 0x50, 0xb8] + number.littleEndianBytes + [0x0f, 0x05]
    }
}
