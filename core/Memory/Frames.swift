// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Guest frames: which exist, what backs them, where the core sees them. Every translation
// of a guest's number into anything goes through here.

import CCore
import CPenumbra

/// An entry of the frame table. The module may turn it from absent to present at any time.
struct FrameTableEntry {
    let value: UInt64

    @inline(__always) var isPresent: Bool { value & UInt64(PENUMBRA_FRAME_PRESENT) != 0 }
    @inline(__always) var isReadOnly: Bool { value & UInt64(PENUMBRA_FRAME_READONLY) != 0 }
    @inline(__always) var page: HostPhysical {
        HostPhysical(value & UInt64(PENUMBRA_FRAME_ADDRESS_MASK))
    }
}

extension ShadowMemory {
    /// The frame of that number, if the VM has such a frame; it may yet be absent.
    @inline(__always)
    func frame(numbered number: UInt64) -> GuestFrame? {
        guard number < UInt64(vmPage.pointee.total_frames) else { return nil }
        return GuestFrame(UInt32(truncatingIfNeeded: number))
    }

    @inline(__always)
    func tableEntry(of frame: GuestFrame) -> FrameTableEntry {
        FrameTableEntry(value: ccore_load64(Windows.frames &+ UInt(frame.value) &* 8))
    }

    /// Where the core sees a present frame.
    @inline(__always)
    func window(of frame: GuestFrame) -> UInt {
        Windows.ram &+ UInt(frame.value) &* UInt(PENUMBRA_PAGE_SIZE)
    }

    /// The guest's entry in a present frame.
    @inline(__always)
    func guestEntryAddress(_ frame: GuestFrame, _ slot: Int) -> UInt {
        window(of: frame) &+ UInt(slot) &* 8
    }

    @inline(__always)
    func guestEntry(_ frame: GuestFrame, _ slot: Int) -> GuestEntry {
        GuestEntry(ccore_load64(guestEntryAddress(frame, slot)))
    }

    /// Whether a present frame can be a page table: the core sets accessed and dirty bits
    /// in tables, so they can be neither read-only nor written by the core for other ends.
    @inline(__always)
    func canBeTable(_ frame: GuestFrame, _ entry: FrameTableEntry) -> Bool {
        !entry.isReadOnly && !frameInfoPointer(frame).pointee.has(.claimed)
    }

    /// The word at that address of guest memory, if its frame is present.
    public func entry(at address: GuestPhysical) -> GuestEntry? {
        guard let place = coreAddress(of: address) else { return nil }
        return GuestEntry(ccore_load64(place & ~7))
    }

    /// Where the core sees an address of guest memory, if its frame is present. Valid until
    /// the frame is dropped; writing there bypasses the shadows, so only into frames that
    /// `claimForCore` has set apart.
    public func coreAddress(of address: GuestPhysical) -> UInt? {
        guard let frame = frame(numbered: address.frameNumber), tableEntry(of: frame).isPresent
        else { return nil }
        return window(of: frame) &+ UInt(address.pageOffset)
    }

    /// Sets a frame apart that the core itself writes to (vcpu_info, shared info): it can be
    /// no page table from now on. Refused while it is a current root.
    public func claimForCore(_ frame: GuestFrame) -> MemoryStatus {
        locked { claimLocked(frame) }
    }

    private func claimLocked(_ wanted: GuestFrame) -> MemoryStatus {
        guard let frame = frame(numbered: UInt64(wanted.value)) else { return .refused }
        guard tableEntry(of: frame).isPresent else { return .needsFrame(frame, count: 1) }
        dropShadows(of: frame)
        guard frameInfoPointer(frame).pointee.firstShadow == 0 else { return .refused }
        frameInfoPointer(frame).pointee.set(.claimed, true)
        state.pointee.pathChanges &+= 1
        return .done
    }
}
