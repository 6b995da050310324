// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Explicit updates: the guest asks the core to store an entry. Guest memory and every
// shadow of that table change at once, so no fault follows.

import CCore
import CPenumbra

extension ShadowMemory {
    /// Stores a page-table entry in guest memory and renders it in all shadows of its table.
    /// The guest flushes as on hardware; no flush is owed for it.
    /// - Parameters:
    ///   - address: guest-physical, a multiple of 8, in writable memory of the VM.
    ///   - preservingAccessedDirty: keep these two bits as set by now.
    /// - Returns: `.refused` for an address that is no such place.
    public func update(
        _ address: GuestPhysical, to value: GuestEntry, preservingAccessedDirty: Bool = false
    ) -> MemoryStatus {
        locked {
            guard address.value & 7 == 0, let table = frame(numbered: address.frameNumber)
            else { return .refused }
            let slot = Int(truncatingIfNeeded: address.pageOffset >> 3)
            return apply(value, table, slot, preservingAccessedDirty)
        }
    }

    /// The short form, for the two updates that Linux makes most: of a table without a shadow
    /// (a new process's), and of a level-1 entry that nothing was mapped by (a fault's). It
    /// decides nothing of its own; false if it is neither, with nothing changed.
    @inline(__always)
    func updateAtOnce(_ address: GuestPhysical, to value: GuestEntry) -> Bool {
        locked {
            guard address.value & 7 == 0, let table = frame(numbered: address.frameNumber)
            else { return false }
            let backing = tableEntry(of: table)
            guard backing.isPresent, !backing.isReadOnly else { return false }
            let slot = Int(truncatingIfNeeded: address.pageOffset >> 3)
            let shadow = frameInfoPointer(table).pointee.firstShadow
            let leaf = shadow == 0 ? .empty : prefillableLeaf(ShadowPage(shadow), slot, value)
            guard shadow == 0 || leaf.isPresent else { return false }
            ccore_store64(guestEntryAddress(table, slot), value.value)
            counters.add(PENUMBRA_COUNTER_table_updates)
            if shadow != 0 { placeInVacant(leaf, value.boundedFrame, in: ShadowPage(shadow), slot) }
            return true
        }
    }

    /// What to map in the table's shadow, if that is its only one and nothing else is to be done
    /// for the entry; else empty.
    @inline(__always)
    private func prefillableLeaf(_ page: ShadowPage, _ slot: Int, _ entry: GuestEntry) -> ShadowEntry {
        let descriptor = page.descriptor
        guard Pool.isAmple, descriptor.pointee.level == Level.one.rawValue,
            descriptor.pointee.nextOfFrame == 0, !page.isOccupied(slot),
            MemoryPolicy(rawValue: state.pointee.policy).contains(.prefillUpdates)
        else { return .empty }
        let leaf = deriveLeaf(entry, page.view)
        guard leaf.isPresent, frameInfoPointer(entry.boundedFrame).pointee.firstShadow == 0
        else { return .empty }
        return leaf
    }

    /// The same for the level-1 entry that translates an address under the kernel's root.
    /// - Parameter thenFlush: flush that page on this vCPU as well.
    /// - Returns: `.refused` if the guest's tables have no level-1 table there.
    @inline(__always)
    public func updateLeaf(
        at address: GuestVirtual, to value: GuestEntry, thenFlush: Bool = false
    ) -> MemoryStatus {
        locked {
            // Before the store: it is not repeated, and a bit that a processor set meanwhile not lost.
            guard !thenFlush || resyncAll() else { return .needsFlush }
            let path = lastUpdatePath(of: vcpu)
            if !path.leads(to: address) {
                let found = findTable(address, path)
                guard case .done = found else { return found }
            }
            let status = apply(value, path.pointee.second.boundedFrame, address.slot(at: .one), false)
            if case .done = status, thenFlush { flushResynced(address) }
            return status
        }
    }

    @inline(never)
    private func findTable(_ address: GuestVirtual, _ path: LastPathPointer) -> MemoryStatus {
        let root = currentRoot(.kernel)
        guard address.isCanonical, !address.isInHole, root != 0 else { return .refused }
        let walk = walk(ShadowPage(root).frame, address, toLevelTwo: true)
        switch walk.end {
        case .absent(let frame): return .needsFrame(frame, count: 1)
        case .notPresent, .reserved: return .refused
        case .complete:
            note(walk, address, in: path, marks: 0)
            return .done
        }
    }

    @inline(__always)
    private func apply(
        _ value: GuestEntry, _ table: GuestFrame, _ slot: Int, _ preserving: Bool
    ) -> MemoryStatus {
        let backing = tableEntry(of: table)
        guard backing.isPresent else { return .needsFrame(table, count: 1) }
        guard !backing.isReadOnly else { return .refused }
        let ready = prepareToFill()
        guard case .done = ready else { return ready }
        counters.add(PENUMBRA_COUNTER_table_updates)
        let stored = store(value, guestEntryAddress(table, slot), preserving)
        render(stored, table, slot)
        return .done
    }

    /// Brings that slot of a table's shadows in line with what was just stored there.
    @inline(__always)
    func render(_ stored: GuestEntry, _ table: GuestFrame, _ slot: Int) {
        dropTablesMadeWritable(stored, table)
        var index = frameInfoPointer(table).pointee.firstShadow
        while index != 0 {
            reapply(ShadowPage(index), slot, stored)
            index = descriptorPointer(index).pointee.nextOfFrame
        }
    }

    /// Under the lock nobody sets A and D but the guest itself, against which compare and
    /// exchange guards; should it keep changing the entry, its bits of the last moment win.
    @inline(__always)
    private func store(_ value: GuestEntry, _ address: UInt, _ preserving: Bool) -> GuestEntry {
        if preserving { return storePreserving(value, address) }
        ccore_store64(address, value.value)
        return value
    }

    @inline(never)
    private func storePreserving(_ value: GuestEntry, _ address: UInt) -> GuestEntry {
        var tries = 0
        while tries < Bounds.retries {
            let old = ccore_load64(address)
            let new = value.value | old & GuestEntry.accessedDirty
            if ccore_compare_exchange64(address, old, new) { return GuestEntry(new) }
            tries += 1
        }
        let old = ccore_exchange64(address, value.value)
        let kept = old & GuestEntry.accessedDirty
        _ = ccore_fetch_or64(address, kept)
        return GuestEntry(value.value | kept)
    }

    /// A guest that maps a table writable is done with it as a table: its shadows go, so
    /// that the mapping is writable at once and the pages serve something else.
    @inline(__always)
    private func dropTablesMadeWritable(_ entry: GuestEntry, _ table: GuestFrame) {
        guard entry.isPresent, entry.isWritable, let target = frame(numbered: entry.frameNumber),
            tableEntry(of: target).isPresent, frameInfoPointer(target).pointee.firstShadow != 0,
            find(table, .one, .kernel) != nil || find(table, .one, .user) != nil
        else { return }
        dropShadows(of: target)
    }

    @inline(__always)
    private func reapply(_ page: ShadowPage, _ slot: Int, _ entry: GuestEntry) {
        if page.isOccupied(slot) {
            rederive(page, slot)
            if page.isOccupied(slot) { return }
        }
        if entry.isPresent && page.level == Level.one.rawValue { prefillByPolicy(page, slot, entry) }
    }

    @inline(never)
    private func prefillByPolicy(_ page: ShadowPage, _ slot: Int, _ entry: GuestEntry) {
        guard MemoryPolicy(rawValue: state.pointee.policy).contains(.prefillUpdates) else { return }
        prefill(page, slot, entry)
    }
}
