// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// f: from a guest's entry to the shadow's. Fills, updates and resyncs write nothing that
// did not come from here, and the checker compares against it.

import CCore
import CPenumbra

extension ShadowMemory {
    @inline(__always)
    func noExecuteBit(_ entry: GuestEntry) -> UInt64 {
        entry.isNoExecute ? vmPage.pointee.nx : 0
    }

    /// The leaf for a level-1 entry in that view, empty where there can be none: not
    /// accessed yet (a fault must set A), no such frame, not here, or not the view's.
    /// Writable only once D is set, never for read-only frames nor for watched tables.
    @inline(__always)
    func deriveLeaf(_ entry: GuestEntry, _ view: View) -> ShadowEntry {
        guard entry.isPresent, entry.isAccessed, view == .kernel || entry.isUser,
            let frame = frame(numbered: entry.frameNumber)
        else { return .empty }
        let backing = tableEntry(of: frame)
        guard backing.isPresent else { return .empty }
        let writable =
            entry.isWritable && entry.isDirty && !backing.isReadOnly
            && !frameInfoPointer(frame).pointee.forbidsWriting
        return ShadowEntry(backing.page, writable: writable, noExecute: noExecuteBit(entry))
    }

    /// The link to `child` for an entry above level 1 of `page`, if the entry leads there. A
    /// kernel root ignores U of its own entries; below it the child's view decides.
    @inline(__always)
    func deriveLink(_ entry: GuestEntry, to child: ShadowPage, in page: ShadowPage) -> ShadowEntry? {
        guard entry.isPresent, entry.isAccessed, !entry.hasPageSize,
            page.view == .kernel || entry.isUser,
            entry.frameNumber == UInt64(child.frame.value)
        else { return nil }
        return ShadowEntry(
            child.hostAddress, writable: entry.isWritable, noExecute: noExecuteBit(entry))
    }

    /// Brings an occupied slot in line with the guest's entry of now. Narrows or widens
    /// rights; what leads elsewhere goes, for a fault to bring back.
    @inline(__always)
    func rederive(_ page: ShadowPage, _ slot: Int) {
        let entry = guestEntry(page.frame, slot)
        let old = page[slot]
        if page.level == Level.one.rawValue {
            let new = deriveLeaf(entry, page.view)
            guard new.isPresent, entry.frameNumber == UInt64(page.origin(slot)), new.page == old.page
            else { return clear(page, slot) }
            if new != old { change(page, slot, from: old, to: new) }
        } else {
            guard let new = deriveLink(entry, to: ShadowPage(page.origin(slot)), in: page)
            else { return clear(page, slot) }
            if new != old { change(page, slot, from: old, to: new) }
        }
    }
}
