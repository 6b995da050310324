// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Where the subsystem's memory lies: the one place in which a number becomes an address.
// In the core the windows are the constants of address_map.h, which the module maps before
// the first instruction; on Linux a test supplies its own.
//
// What makes each pointer sound: an index is checked against the VM page before it gets
// here (frames: Frames.swift; pool pages: Pool.swift), and the module maps each window as
// far as those bounds reach. Everything behind a pointer is only touched with the VM's
// memory lock held, except where an accessor says otherwise.

import CCore
import CPenumbra

#if hasFeature(Embedded)
    enum Windows {
        @inline(__always) static var ram: UInt { UInt(PENUMBRA_CORE_RAM) }
        @inline(__always) static var pool: UInt { UInt(PENUMBRA_CORE_POOL) }
        @inline(__always) static var frames: UInt { UInt(PENUMBRA_CORE_FRAMES) }
        @inline(__always) static var frameInfo: UInt { UInt(PENUMBRA_CORE_FRAMEINFO) }
        @inline(__always) static var shadows: UInt { UInt(PENUMBRA_CORE_SHADOWS) }
        @inline(__always) static var poolTable: UInt { UInt(PENUMBRA_CORE_POOLTABLE) }
        @inline(__always) static var vm: UInt { UInt(PENUMBRA_CORE_VM) }
        @inline(__always) static var state: UInt { UInt(PENUMBRA_CORE_STATE) }
    }
#else
    /// The windows of one fake machine. Set before use and not changed while an operation runs.
    public struct Windows {
        public nonisolated(unsafe) static var ram: UInt = 0
        public nonisolated(unsafe) static var pool: UInt = 0
        public nonisolated(unsafe) static var frames: UInt = 0
        public nonisolated(unsafe) static var frameInfo: UInt = 0
        public nonisolated(unsafe) static var shadows: UInt = 0
        public nonisolated(unsafe) static var poolTable: UInt = 0
        public nonisolated(unsafe) static var vm: UInt = 0
        public nonisolated(unsafe) static var state: UInt = 0
    }
#endif

/// The VM page. The module may raise `pool_pages` at any time; a stale value is only smaller.
@inline(__always) var vmPage: UnsafePointer<penumbra_vm> {
    UnsafePointer(bitPattern: Windows.vm).unsafelyUnwrapped
}

/// The subsystem's per-VM state.
@inline(__always) var state: UnsafeMutablePointer<MemoryState> {
    UnsafeMutablePointer(bitPattern: Windows.state).unsafelyUnwrapped
}

/// Core address of the descriptor of a pool page.
@inline(__always) func descriptorPointer(_ index: UInt32) -> UnsafeMutablePointer<PageDescriptor> {
    let address = Windows.shadows &+ UInt(index) &* UInt(PENUMBRA_SHADOW_DESCRIPTOR_SIZE)
    return UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
}

/// Core address of what is known about a present frame.
@inline(__always) func frameInfoPointer(_ frame: GuestFrame) -> UnsafeMutablePointer<FrameInfo> {
    let address = Windows.frameInfo &+ UInt(frame.value) &* UInt(PENUMBRA_FRAME_INFO_SIZE)
    return UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
}

/// Pointers into the windows, under the names by which the other files use them.
typealias DescriptorPointer = UnsafeMutablePointer<PageDescriptor>
typealias RecordPointer = UnsafeMutablePointer<VCPURecord>
typealias LastPathPointer = UnsafeMutablePointer<LastPath>
/// Both structures that own a reverse list begin with it.
typealias EntryListPointer = UnsafeMutablePointer<EntryList>

extension UnsafeMutablePointer where Pointee == PageDescriptor {
    @inline(__always) var parents: EntryListPointer {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: EntryList.self)
    }
}

extension UnsafeMutablePointer where Pointee == FrameInfo {
    @inline(__always) var mappings: EntryListPointer {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: EntryList.self)
    }
}

/// A vCPU's record, at its place in the state. Ids come from the module and are bounded here.
@inline(__always) func record(of vcpu: UInt32) -> UnsafeMutablePointer<VCPURecord> {
    precondition(vcpu < UInt32(PENUMBRA_MAX_VCPUS))
    let first = Windows.state &+ UInt(PENUMBRA_PAGE_SIZE)
    let address = first &+ UInt(vcpu) &* UInt(MemoryLayout<VCPURecord>.stride)
    return UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
}

/// Where a vCPU's last fill in that mode went.
@inline(__always) func lastPath(of vcpu: UInt32, _ mode: GuestMode) -> UnsafeMutablePointer<LastPath> {
    precondition(vcpu < UInt32(PENUMBRA_MAX_VCPUS))
    let first = Windows.state &+ 2 &* UInt(PENUMBRA_PAGE_SIZE)
    let place = UInt(vcpu) &* 2 &+ UInt(mode.rawValue)
    return UnsafeMutablePointer(bitPattern: first &+ place &* 64).unsafelyUnwrapped
}

/// Where a vCPU's last update by address went, under its kernel root.
@inline(__always) func lastUpdatePath(of vcpu: UInt32) -> LastPathPointer {
    precondition(vcpu < UInt32(PENUMBRA_MAX_VCPUS))
    let first = Windows.state &+ 4 &* UInt(PENUMBRA_PAGE_SIZE)
    return UnsafeMutablePointer(bitPattern: first &+ UInt(vcpu) &* 64).unsafelyUnwrapped
}

/// Whether records of flushes say all that there was: a vCPU that leaves by the module and comes back has
/// flushed on its way, and nobody writes that down.
@inline(__always) var recordsAllFlushes: Bool {
    #if hasFeature(Embedded)
        vmPage.pointee.vcpu_count == 1
    #else
        true
    #endif
}

/// Whether another vCPU is in the world at this moment, as the module marks it. Tests have no
/// module: there a vCPU is in the world from `enterWorld` to `leaveWorld`.
@inline(__always) func isInWorldNow(_ vcpu: UInt32) -> Bool {
    #if hasFeature(Embedded)
        let page =
            UInt(PENUMBRA_CORE_VCPUS) &+ UInt(vcpu) &* UInt(PENUMBRA_VCPU_STRIDE) &+ UInt(PENUMBRA_VCPU_PAGE)
        return ccore_load32(page &+ UInt(PENUMBRA_VCPU_OFFSET_IN_WORLD)) != 0
    #else
        return true
    #endif
}
