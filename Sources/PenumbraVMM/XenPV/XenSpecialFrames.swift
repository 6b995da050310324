// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// The frames above a Xen PV guest's RAM (interface/penumbra/xen.h): shared_info, the grant table and
/// the machine-to-physical map.
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
        let map = GuestPhysical(frame: UInt64(XENPV_M2P_OFFSET))
        for frame in 0..<UInt64(ramFrames) { try memory.store(frame, at: map + frame * 8) }
    }

    /// The guest's physical address of shared_info.
    var sharedInfo: GuestPhysical { GuestPhysical(frame: UInt64(xenpv_shared_info_frame(ramFrames))) }

    /// What the guest may write, and the map, which it may only read.
    var regions: [penumbra_region] {
        let file = memory.file.number
        let map = UInt64(XENPV_M2P_OFFSET)
        return [
            penumbra_region(
                fd: file, flags: 0, offset: 0, first_frame: xenpv_shared_info_frame(ramFrames),
                frame_count: UInt32(map), reserved: (0, 0)),
            penumbra_region(
                fd: file, flags: UInt32(PENUMBRA_REGION_READONLY), offset: GuestPhysical(frame: map).value,
                first_frame: xenpv_m2p_frame(ramFrames), frame_count: xenpv_m2p_frames(ramFrames),
                reserved: (0, 0)),
        ]
    }
}
