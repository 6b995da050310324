// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// A micro-guest in its memory, ready to run (interface/penumbra/test_abi.h):
///
///     program | start page | vcpu_info of all vCPUs | stack | page tables | free frames ...
struct MicroGuestImage {
    static let stackSize: UInt64 = 16 << 10
    private static let pageSize = UInt64(PENUMBRA_PAGE_SIZE)
    /// One page holds the 64 bytes of each vCPU.
    private static let infoSize: UInt64 = 64

    let memory: GuestMemory
    let entry: UInt64
    let start: GuestPhysical
    let info: GuestPhysical
    let stackTop: GuestPhysical
    let root: GuestPhysical

    init(
        program: [UInt8], memory: GuestMemory, cpus: Int, commandLine: String, tscKHz: UInt64
    ) throws(VMMError) {
        let tables = PageTables.count(frames: memory.frames) * Self.pageSize
        let reserved = tables + 2 * Self.pageSize + Self.stackSize
        let limit = memory.size > reserved ? memory.size - reserved : 0
        let image: ElfImage
        do throws(ElfImage.Problem) {
            image = try ElfImage(program, limit: limit & ~(Self.pageSize - 1))
            try image.checkEntry()
        } catch { throw .badElf(error) }
        try image.load(into: memory)
        let end = (image.end + Self.pageSize - 1) & ~(Self.pageSize - 1)
        self.memory = memory
        entry = image.entry
        start = GuestPhysical(end)
        info = start + Self.pageSize
        stackTop = info + Self.pageSize + Self.stackSize
        let pageTables = try PageTables(in: memory, at: stackTop)
        root = pageTables.root
        try writeStart(
            firstFree: pageTables.end.frame, cpus: cpus, commandLine: commandLine, tscKHz: tscKHz)
    }

    func info(ofCPU id: Int) -> GuestPhysical { info + UInt64(id) * Self.infoSize }

    /// Fills struct ptest_start.
    private func writeStart(
        firstFree: UInt64, cpus: Int, commandLine: String, tscKHz: UInt64
    ) throws(VMMError) {
        let text = Array(commandLine.utf8) + [0]
        let offset = MemoryLayout<ptest_start>.offset(of: \ptest_start.command_line)!
        let limit = MemoryLayout<ptest_start>.size - offset
        guard text.count <= limit else { throw .commandLineTooLong(limit: limit - 1) }
        let fields: [(PartialKeyPath<ptest_start>, UInt64)] = [
            (\.magic, UInt64(PTEST_START_MAGIC)), (\.ram_frames, memory.frames),
            (\.first_free_frame, firstFree), (\.root_frame, root.frame), (\.info_address, info.value),
            (\.tsc_khz, tscKHz), (\.vcpus, UInt64(cpus)),
        ]
        for (field, value) in fields {
            try memory.store(value, at: start + UInt64(MemoryLayout<ptest_start>.offset(of: field)!))
        }
        try memory.write(text[...], at: start + UInt64(offset))
    }
}
