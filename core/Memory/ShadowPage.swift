// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Shadow pages and the only functions that change an entry of one. Each keeps four things
// true together: the entry, its occupancy bit, its origin (which frame or child it refers
// to: a host address cannot be turned back into that), and the reverse list of what it
// refers to.

import CCore
import CPenumbra

/// A pool page of kind `.shadow`.
struct ShadowPage: Equatable {
    let index: UInt32

    @inline(__always) init(_ index: UInt32) { self.index = index }

    @inline(__always) var descriptor: DescriptorPointer { descriptorPointer(index) }
    @inline(__always) var level: UInt8 { descriptor.pointee.level }
    @inline(__always) var view: View { descriptor.pointee.view }
    @inline(__always) var frame: GuestFrame { GuestFrame(descriptor.pointee.frame) }
    @inline(__always) var hostAddress: HostPhysical { Pool.hostAddress(index) }

    @inline(__always) func entryAddress(_ slot: Int) -> UInt {
        Pool.window(index) &+ UInt(slot) &* 8
    }

    @inline(__always) subscript(slot: Int) -> ShadowEntry {
        get { ShadowEntry(ccore_load64(entryAddress(slot))) }
        nonmutating set { ccore_store64(entryAddress(slot), newValue.value) }
    }

    @inline(__always) fileprivate var originsAddress: UInt {
        Slab.address(of: descriptor.pointee.origins, kind: .origins)
    }

    @inline(__always) private func originAddress(_ slot: Int) -> UInt { originsAddress &+ UInt(slot) &* 4 }

    /// Guest frame (level 1) or pool page (above) that the entry refers to; 0 where empty.
    @inline(__always) func origin(_ slot: Int) -> UInt32 { ccore_load32(originAddress(slot)) }

    @inline(__always) fileprivate func setOrigin(_ slot: Int, _ value: UInt32) {
        ccore_store32(originAddress(slot), value)
    }

    @inline(__always) func isOccupied(_ slot: Int) -> Bool {
        descriptor.pointee.occupancy[slot >> 6] & 1 << UInt64(slot & 63) != 0
    }

    @inline(__always) fileprivate func setOccupied(_ slot: Int) {
        descriptor.pointee.occupancy[slot >> 6] |= 1 << UInt64(slot & 63)
        descriptor.pointee.live += 1
    }

    @inline(__always) fileprivate func setVacant(_ slot: Int) {
        descriptor.pointee.occupancy[slot >> 6] &= ~(1 << UInt64(slot & 63))
        descriptor.pointee.live -= 1
    }

    @inline(__always) fileprivate func setAllVacant() {
        var word = 0
        while word < 8 {
            descriptor.pointee.occupancy[word] = 0
            word += 1
        }
        descriptor.pointee.live = 0
    }

    /// Calls `body` with each occupied slot; it may change that slot. If it can empty others, it must
    /// look whether its own still is occupied.
    @inline(__always)
    func forEachOccupied(_ body: (Int) -> Void) {
        var word = 0
        while word < 8 {
            var bits = descriptor.pointee.occupancy[word]
            while bits != 0 {
                body(word << 6 | bits.trailingZeroBitCount)
                bits &= bits &- 1
            }
            word += 1
        }
    }
}

// MARK: - Entries

extension ShadowMemory {
    /// Level 1: makes the slot map `frame` as `entry` says, whatever was there.
    @inline(__always)
    func place(_ entry: ShadowEntry, _ frame: GuestFrame, in page: ShadowPage, _ slot: Int) {
        let old = page[slot]
        if old.isPresent {
            if page.origin(slot) == frame.value && old.page == entry.page {
                change(page, slot, from: old, to: entry)
                return
            }
            clear(page, slot)
        }
        placeInVacant(entry, frame, in: page, slot)
    }

    /// The same for a slot that is empty.
    @inline(__always)
    func placeInVacant(_ entry: ShadowEntry, _ frame: GuestFrame, in page: ShadowPage, _ slot: Int) {
        let mappings = frameInfoPointer(frame).mappings
        if mappings.pointee.count >= Bounds.listEntries { evict(mappings.oldest) }
        mappings.add(EntryReference(page, slot))
        page.setOrigin(slot, frame.value)
        page.setOccupied(slot)
        page[slot] = entry
    }

    /// Other rights for what the slot refers to already.
    @inline(__always)
    func change(_ page: ShadowPage, _ slot: Int, from old: ShadowEntry, to new: ShadowEntry) {
        if page.level != Level.one.rawValue {
            state.pointee.pathChanges &+= 1
        } else if old.isWritable && !new.isWritable {
            noteStaleWriters(GuestFrame(page.origin(slot)))
        }
        page[slot] = new
        state.pointee.changes &+= 1
    }

    /// Above level 1: links `child`, in a slot that is empty.
    func link(_ child: ShadowPage, as entry: ShadowEntry, in page: ShadowPage, _ slot: Int) {
        precondition(child.index != 0)
        let parents = child.descriptor.parents
        if parents.pointee.count >= Bounds.listEntries { evict(parents.oldest) }
        parents.add(EntryReference(page, slot))
        page.setOrigin(slot, child.index)
        page.setOccupied(slot)
        page[slot] = entry
    }

    /// Empties an occupied slot. A TLB may still hold what it said: that is the guest's to
    /// flush, unless it mattered to us (`noteStaleWriters`, `Pool.quarantine`).
    func clear(_ page: ShadowPage, _ slot: Int) {
        let old = page[slot]
        let origin = page.origin(slot)
        page[slot] = .empty
        page.setOrigin(slot, 0)
        page.setVacant(slot)
        state.pointee.changes &+= 1
        if page.level == 1 {
            let info = frameInfoPointer(GuestFrame(origin))
            info.mappings.remove(EntryReference(page, slot))
            if old.isWritable { noteStaleWriters(GuestFrame(origin)) }
        } else {
            descriptorPointer(origin).parents.remove(EntryReference(page, slot))
            state.pointee.pathChanges &+= 1
        }
    }

    /// Gives an entry up for want of room in a reverse list; a fault brings it back.
    @inline(never)
    private func evict(_ entry: EntryReference) {
        clear(entry.page, entry.slot)
    }

    /// From now on a TLB may allow writes to `frame` that no shadow entry shows.
    @inline(__always)
    func noteStaleWriters(_ frame: GuestFrame) {
        let now = UInt32(truncatingIfNeeded: state.pointee.generation)
        frameInfoPointer(frame).pointee.staleStamp = now
    }

    /// When `noteStaleWriters` was last called for the frame, or later: only the low half is
    /// kept, and the latest time with that low half errs on the safe side.
    @inline(__always)
    func staleWritersStamp(_ frame: GuestFrame) -> UInt64 {
        let now = state.pointee.generation
        let age = UInt32(truncatingIfNeeded: now) &- frameInfoPointer(frame).pointee.staleStamp
        return now >= UInt64(age) ? now - UInt64(age) : 0
    }

    /// Takes write access from every mapping of the frame. Says whether there was any.
    @discardableResult
    func protect(_ frame: GuestFrame) -> Bool {
        var any = false
        frameInfoPointer(frame).mappings.forEach { reference in
            let entry = reference.page[reference.slot]
            if entry.isWritable {
                reference.page[reference.slot] = entry.readOnly
                any = true
            }
        }
        if any {
            noteStaleWriters(frame)
            state.pointee.changes &+= 1
        }
        return any
    }
}

// MARK: - Pages

extension ShadowMemory {
    /// The shadow of a frame at a level, in a view, if there is one. A frame has at most
    /// eight shadows: four levels, two views.
    @inline(__always)
    func find(_ frame: GuestFrame, _ level: Level, _ view: View) -> ShadowPage? {
        var index = frameInfoPointer(frame).pointee.firstShadow
        while index != 0 {
            let descriptor = descriptorPointer(index)
            if descriptor.pointee.level == level.rawValue && descriptor.pointee.view == view {
                return ShadowPage(index)
            }
            index = descriptor.pointee.nextOfFrame
        }
        return nil
    }

    /// A new, empty shadow. Pages and room in the unsync list have been reserved.
    func make(_ frame: GuestFrame, _ level: Level, _ view: View) -> ShadowPage {
        let page = ShadowPage(Pool.take())
        let info = frameInfoPointer(frame)
        let isFirst = info.pointee.firstShadow == 0
        let descriptor = page.descriptor
        descriptor.pointee.kind = .shadow
        descriptor.pointee.frame = frame.value
        descriptor.pointee.level = level.rawValue
        descriptor.pointee.view = view
        descriptor.pointee.isReferenced = true
        descriptor.pointee.nextOfFrame = info.pointee.firstShadow
        descriptor.pointee.origins = Slab.allocate(.origins)
        info.pointee.firstShadow = page.index
        state.pointee.droppablePages += 1
        if level == .four { prepareRoot(page) }
        if isFirst && !info.pointee.has(.open) { beginWatching(frame) }
        counters.add(PENUMBRA_COUNTER_shadow_pages_made)
        return page
    }

    /// Removes all entries of a page; it stays what it is.
    func empty(_ page: ShadowPage) {
        if page.level == Level.one.rawValue { return emptyLeaves(page) }
        page.forEachOccupied { clear(page, $0) }
    }

    /// `clear` of every occupied slot: processes that end have hundreds.
    private func emptyLeaves(_ page: ShadowPage) {
        let origins = page.originsAddress
        page.forEachOccupied { slot in
            let isWritable = page[slot].isWritable
            let frame = GuestFrame(ccore_load32(origins &+ UInt(slot) &* 4))
            page[slot] = .empty
            ccore_store32(origins &+ UInt(slot) &* 4, 0)
            frameInfoPointer(frame).mappings.remove(EntryReference(page, slot))
            if isWritable { noteStaleWriters(frame) }
        }
        state.pointee.changes &+= UInt64(page.descriptor.pointee.live)
        page.setAllVacant()
    }

    /// Removes a page that is no current root. It goes into quarantine, and every vCPU that
    /// may hold translations through it owes a flush.
    func drop(_ page: ShadowPage) {
        let descriptor = page.descriptor
        precondition(descriptor.pointee.rootUses == 0)
        empty(page)
        let parents = descriptor.parents
        while parents.pointee.count > 0 {
            let parent = parents.any
            clear(parent.page, parent.slot)
        }
        unlinkFromFrame(page)
        forgetIfUnused(page.frame)
        Slab.free(descriptor.pointee.origins, kind: .origins)
        if page.level == Level.four.rawValue { retireRoot(page) }
        descriptor.pointee.frame = 0
        descriptor.pointee.nextOfFrame = 0
        descriptor.pointee.origins = 0
        descriptor.pointee.level = 0
        descriptor.pointee.view = .user
        descriptor.pointee.isReferenced = false
        Pool.quarantine(page.index)
        state.pointee.droppablePages -= 1
        owe(flushSince: state.pointee.generation)
        counters.add(PENUMBRA_COUNTER_shadow_pages_dropped)
    }

    private func unlinkFromFrame(_ page: ShadowPage) {
        let info = frameInfoPointer(page.frame)
        let next = page.descriptor.pointee.nextOfFrame
        if info.pointee.firstShadow == page.index {
            info.pointee.firstShadow = next
            return
        }
        var index = info.pointee.firstShadow
        while descriptorPointer(index).pointee.nextOfFrame != page.index {
            index = descriptorPointer(index).pointee.nextOfFrame
            precondition(index != 0)
        }
        descriptorPointer(index).pointee.nextOfFrame = next
    }

    /// Drops all shadows of a frame; those that are current roots are emptied instead.
    func dropShadows(of frame: GuestFrame) {
        dropShadows(of: frame, aboveLevel: 0)
    }

    /// Drops the frame's shadows of levels above that one.
    func dropShadows(of frame: GuestFrame, aboveLevel level: UInt8) {
        var index = frameInfoPointer(frame).pointee.firstShadow
        while index != 0 {
            let page = ShadowPage(index)
            index = page.descriptor.pointee.nextOfFrame
            if page.level <= level { continue }
            if page.descriptor.pointee.rootUses > 0 {
                empty(page)
            } else {
                drop(page)
            }
        }
    }
}
