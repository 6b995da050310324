// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// The frames above a Xen PV guest's RAM (interface/penumbra/xen.h): shared_info, the grant table, and
/// the machine-to-physical map with the page tables that it is mapped by.
struct XenSpecialFrames {
    let memory: GuestMemory
    private let ramFrames: UInt32

    init(ramFrames: UInt32) throws(VMMError) {
        self.ramFrames = ramFrames
        memory = try GuestMemory(size: GuestPhysical(frame: UInt64(xenpv_special_frames(ramFrames))).value)
        for cpu in 0..<UInt64(XENPV_SHARED_VCPUS) {
            let info = GuestPhysical(cpu * UInt64(XENPV_VCPU_INFO_SIZE))
            try memory.write([1], at: info + UInt64(XENPV_INFO_MASK))
        }
        try fillMap()
        try fillTables()
    }

    /// The guest's physical address of shared_info.
    var sharedInfo: GuestPhysical { GuestPhysical(frame: UInt64(xenpv_shared_info_frame(ramFrames))) }

    /// What the guest may write, tables among it, and the map, which it may only read.
    var regions: [penumbra_region] {
        let file = memory.file.number
        let map = offset(ofFrame: xenpv_m2p_frame(ramFrames))
        return [
            penumbra_region(
                fd: file, flags: 0, offset: 0, first_frame: xenpv_shared_info_frame(ramFrames),
                frame_count: UInt32(map.frame), reserved: (0, 0)),
            penumbra_region(
                fd: file, flags: UInt32(PENUMBRA_REGION_READONLY), offset: map.value,
                first_frame: xenpv_m2p_frame(ramFrames), frame_count: xenpv_m2p_frames(ramFrames),
                reserved: (0, 0)),
        ]
    }

    /// Where a frame of the guest's is in `memory`.
    private func offset(ofFrame frame: UInt32) -> GuestPhysical {
        GuestPhysical(frame: UInt64(frame - ramFrames))
    }

    // MARK: The machine-to-physical map

    private func fillMap() throws(VMMError) {
        let map = offset(ofFrame: xenpv_m2p_frame(ramFrames))
        for frame in 0..<UInt64(ramFrames) { try memory.store(frame, at: map + frame * 8) }
    }

    /// Level 3, level 2, then as many of level 1 as the map needs.
    private func fillTables() throws(VMMError) {
        let third = xenpv_m2p_tables_frame(ramFrames)
        let second = third + 1
        let map = xenpv_m2p_frame(ramFrames)
        try point(third, to: second..<(second + 1), flags: PagingFlags.table)
        try point(second, to: (second + 1)..<map, flags: PagingFlags.table)
        // The level-1 tables are consecutive: one long table.
        let leaves = PagingFlags.present | PagingFlags.accessed | PagingFlags.noExecute
        try point(second + 1, to: map..<(map + xenpv_m2p_frames(ramFrames)), flags: leaves)
    }

    /// Entries of the table from its first on.
    private func point(_ table: UInt32, to frames: Range<UInt32>, flags: UInt64) throws(VMMError) {
        let first = offset(ofFrame: table)
        for (index, frame) in frames.enumerated() {
            let entry = GuestPhysical(frame: UInt64(frame)).value | flags
            try memory.store(entry, at: first + UInt64(index) * 8)
        }
    }
}
