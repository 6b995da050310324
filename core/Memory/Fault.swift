// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// A page fault: walk the guest's tables, and either the guest gets its fault or the shadow
// gets its entry. The path that runs most often in the whole core, so it has a short form:
// when the guest's tables above level 1 are as at the last fault, only the leaf is walked
// (`decideByLastPath`). It decides nothing of its own; whatever is not plain goes the long way.

import CCore
import CPenumbra

/// What the short form of a page fault came to.
enum FaultVerdict {
    /// The guest may run on.
    case filled
    /// The guest's tables do not allow the access: its kernel gets this error code.
    case refused(PageFaultError)
    /// The long form has to look.
    case open
}

extension ShadowMemory {
    /// Resolves a page fault of this vCPU: `decideAtOnce`, or `resolveFault`.
    @inline(__always)
    public func fault(
        _ address: GuestVirtual, _ error: PageFaultError, mode: GuestMode, neighbours: UInt32 = 0,
        unsyncs: Bool = false, isRepeated: Bool = false
    ) -> MemoryStatus {
        switch decideAtOnce(address, error, mode: mode, neighbours: neighbours) {
        case .filled: return .done
        case .refused(let error): return .guestFault(error)
        case .open: break
        }
        return resolveFault(
            address, error, mode: mode, neighbours: neighbours, unsyncs: unsyncs, isRepeated: isRepeated)
    }

    /// Begins every page fault: its short form.
    @inline(__always)
    func decideAtOnce(
        _ address: GuestVirtual, _ error: PageFaultError, mode: GuestMode, neighbours: UInt32 = 0
    ) -> FaultVerdict {
        counters.add(PENUMBRA_COUNTER_page_faults)
        let access = Access(write: error.contains(.write), fetch: error.contains(.fetch), mode: mode)
        return locked { decideByLastPath(address, access, neighbours) }
    }

    /// The long form of a page fault.
    /// - Parameters:
    ///   - error: the processor's error code. U is ignored, since both modes run in ring 3.
    ///   - neighbours: fill up to so many present, accessed entries around it as well.
    ///   - unsyncs: a store to a read-only table makes it writable, whatever came before.
    ///   - isRepeated: the instruction has faulted before.
    /// - Returns: `.done` if the guest may run on (after `settleFlush`), `.guestFault` with
    ///   the error code to inject, `.tableWrite`, or what must be done before the guest
    ///   tries again.
    @inline(__always)
    public func resolveFault(
        _ address: GuestVirtual, _ error: PageFaultError, mode: GuestMode, neighbours: UInt32 = 0,
        unsyncs: Bool = false, isRepeated: Bool = false
    ) -> MemoryStatus {
        let access = Access(
            write: error.contains(.write), fetch: error.contains(.fetch), isRepeated: isRepeated, mode: mode)
        return locked { resolve(address, access, neighbours, unsyncs) }
    }

    /// The short form. What the walker would check of the address and above level 1 it has
    /// checked when the path was noted; below, the checks are the same. It makes no shadow
    /// page, so that the unsync list needs no room.
    @inline(__always)
    private func decideByLastPath(
        _ address: GuestVirtual, _ access: Access, _ neighbours: UInt32
    ) -> FaultVerdict {
        let path = lastPath(of: vcpu, access.mode)
        guard path.leads(to: address) else { return .open }
        let table = path.pointee.second.boundedFrame
        let slot = address.slot(at: .one)
        let guest = guestEntry(table, slot)
        let common =
            path.pointee.fourth.value & path.pointee.third.value & path.pointee.second.value
            & guest.value
        guard common & access.needed == access.needed, !access.fetch || !entryForbidsFetch(path, guest)
        else { return refuseByLeaf(guest, access) }
        let page = path.pointee.page
        guard page.index != 0, Pool.isAmple else { return .open }
        let used = GuestEntry(guest.value | access.marks)
        let entry = deriveLeaf(used, page.view)
        guard entry.isPresent, !access.write || entry.isWritable, page[slot] != entry
        else { return .open }
        if used != guest {
            guard ccore_compare_exchange64(guestEntryAddress(table, slot), guest.value, used.value)
            else { return .open }
        }
        finish(entry, used.boundedFrame, page, slot, neighbours)
        return .filled
    }

    /// The leaf, or the path to it, does not allow the access. A leaf that is present may be
    /// malformed as well, and a kernel's store may be one to a table (`mayForce`).
    @inline(__always)
    private func refuseByLeaf(_ leaf: GuestEntry, _ access: Access) -> FaultVerdict {
        if leaf.isPresent {
            guard access.mode == .user || !access.write, frame(numbered: leaf.frameNumber) != nil
            else { return .open }
        }
        counters.add(PENUMBRA_COUNTER_guest_faults)
        return .refused(faultError(access, leaf.isPresent ? .present : .none))
    }

    @inline(__always)
    private func entryForbidsFetch(_ path: LastPathPointer, _ guest: GuestEntry) -> Bool {
        let united =
            path.pointee.fourth.value | path.pointee.third.value | path.pointee.second.value | guest.value
        return united & vmPage.pointee.nx != 0
    }

    /// Remembers the way that a fill went.
    @inline(__always)
    private func notePath(
        _ page: ShadowPage, _ walk: GuestWalk, _ address: GuestVirtual, _ mode: GuestMode
    ) {
        let path = lastPath(of: vcpu, mode)
        note(walk, address, in: path, marks: EntryBits.accessed)
        path.pointee.tag |= UInt64(page.index) << 1
    }

    /// The same of a walk whose leaf allows nothing: there may be no shadow page to fill (0).
    /// Only where the walk came down to level 1.
    @inline(__always)
    private func noteRefusedPath(_ walk: GuestWalk, _ address: GuestVirtual, _ mode: GuestMode) {
        switch walk.end {
        case .absent, .reserved: return
        case .notPresent, .complete: break
        }
        if walk.second.isPresent { note(walk, address, in: lastPath(of: vcpu, mode), marks: 0) }
    }

    /// Remembers the entries above level 1 of a walk, with the bits that it left in them.
    @inline(__always)
    func note(_ walk: GuestWalk, _ address: GuestVirtual, in path: LastPathPointer, marks: UInt64) {
        path.pointee.tag = address.value & ~0x1f_ffff | 1
        path.pointee.changes = state.pointee.pathChanges
        let fourth = guestEntryAddress(walk.root, address.slot(at: .four))
        let third = guestEntryAddress(walk.fourth.boundedFrame, address.slot(at: .three))
        let second = guestEntryAddress(walk.third.boundedFrame, address.slot(at: .two))
        path.pointee.fourthAddress = UInt64(fourth)
        path.pointee.thirdAddress = UInt64(third)
        path.pointee.secondAddress = UInt64(second)
        path.pointee.fourth = GuestEntry(walk.fourth.value | marks)
        path.pointee.third = GuestEntry(walk.third.value | marks)
        path.pointee.second = GuestEntry(walk.second.value | marks)
    }

    @inline(never)
    private func resolve(
        _ address: GuestVirtual, _ access: Access, _ neighbours: UInt32, _ unsyncs: Bool
    ) -> MemoryStatus {
        guard address.isCanonical else { return .notCanonical }
        guard !address.isInHole else { return .guestFault(faultError(access, .none)) }
        let room = prepareToFill()
        guard case .done = room else { return room }
        let root = currentRoot(access.mode)
        guard root != 0 else { return .refused }
        var tries = 0
        while tries < Bounds.retries {
            let walk = walk(ShadowPage(root).frame, address)
            let isForced = !permits(walk, access)
            if isForced && !mayForce(walk, access) {
                noteRefusedPath(walk, address, access.mode)
                return refuse(refusal(walk, access))
            }
            let target = walk.target
            if isForced && !unsyncs && state.pointee.lastWrittenTable != target.value &+ 1 {
                return .tableWrite
            }
            let ready = prepareTarget(target, walk, access, isForced)
            guard case .done = ready else { return refuse(ready) }
            if markUsed(walk, address, access) {
                fill(ShadowPage(root), walk, address, access, isForced, neighbours)
                return .done
            }
            tries += 1
        }
        // The guest keeps changing the entry: let it run, and fault again if it wants.
        return .done
    }

    @inline(never)
    private func refuse(_ status: MemoryStatus) -> MemoryStatus {
        if case .guestFault = status { counters.add(PENUMBRA_COUNTER_guest_faults) }
        return status
    }

    /// A write to a table through a leaf that lacks W alone (MemoryPolicy).
    @inline(never)
    func mayForce(_ walk: GuestWalk, _ access: Access) -> Bool {
        let policy = MemoryPolicy(rawValue: state.pointee.policy)
        guard policy.contains(.tablesWritableThroughReadOnly), access.write, !access.fetch,
            access.mode == .kernel, case .complete = walk.end, !walk.first.isWritable,
            walk.isWritableAboveLeaf
        else { return false }
        let target = walk.target
        let backing = tableEntry(of: target)
        return backing.isPresent && !backing.isReadOnly && isTable(target)
    }

    /// Whether plain writes to the frame are page-table updates: the guest declared it a
    /// table, or it is shadowed at level 1 (no guest writes to higher tables that way).
    private func isTable(_ frame: GuestFrame) -> Bool {
        let info = frameInfoPointer(frame)
        return info.pointee.has(.markedTable)
            || find(frame, .one, .kernel) != nil || find(frame, .one, .user) != nil
    }

    /// Sees to it that the target is here and, for a write, may be written to.
    @inline(__always)
    func prepareTarget(
        _ target: GuestFrame, _ walk: GuestWalk, _ access: Access, _ isForced: Bool
    ) -> MemoryStatus {
        let backing = tableEntry(of: target)
        guard backing.isPresent else { return .needsFrame(target, count: 1) }
        guard access.write else { return .done }
        if backing.isReadOnly { return .guestFault(faultError(access, .present)) }
        if isForced || frameInfoPointer(target).pointee.forbidsWriting {
            admitWriter(to: target, walk, access, isForced)
        }
        return .done
    }

    /// A plain write to a frame that holds tables. Shadows above level 1 go, since writers
    /// of such tables are rare and usually done with them; but not those that this very
    /// instruction needs, which would come back at once and forbid the write again: on the path
    /// of the access, or of its code or another operand, for which it faulted before. What
    /// remains is unsynced.
    @inline(never)
    private func admitWriter(
        to target: GuestFrame, _ walk: GuestWalk, _ access: Access, _ isForced: Bool
    ) {
        if !access.isRepeated && !walk.passes(target) { dropShadows(of: target, aboveLevel: 1) }
        if isForced || frameInfoPointer(target).pointee.firstShadow != 0 { open(target) }
    }

    // MARK: - Filling

    @inline(__always)
    private func fill(
        _ root: ShadowPage, _ walk: GuestWalk, _ address: GuestVirtual, _ access: Access,
        _ isForced: Bool, _ neighbours: UInt32
    ) {
        let needsKernelView = isForced || !walk.isUserBelowRoot
        let third = child(root, .four, address, walk.fourth, needsKernelView)
        let second = child(third, .three, address, walk.third, needsKernelView)
        let page = child(second, .two, address, walk.second, needsKernelView)
        notePath(page, walk, address, access.mode)
        let slot = address.slot(at: .one)
        let derived = deriveLeaf(GuestEntry(walk.first.value | access.marks), page.view)
        guard derived.isPresent else { return }
        let entry = isForced ? derived.madeWritable : derived
        if page[slot] == entry { return noteSpurious(address) }
        finish(entry, walk.target, page, slot, neighbours)
    }

    @inline(__always)
    private func finish(
        _ entry: ShadowEntry, _ target: GuestFrame, _ page: ShadowPage, _ slot: Int, _ neighbours: UInt32
    ) {
        page.descriptor.pointee.isReferenced = true
        place(entry, target, in: page, slot)
        counters.add(PENUMBRA_COUNTER_shadow_fills)
        if neighbours != 0 { fillAround(page, slot, min(neighbours, Bounds.neighbours)) }
    }

    /// The shadow allows it already: another vCPU was first, or a TLB is stale.
    @inline(never)
    private func noteSpurious(_ address: GuestVirtual) {
        counters.add(PENUMBRA_COUNTER_spurious_faults)
        owePage(vcpu, address)
    }

    /// The shadow page that the guest's entry at `level` leads to, linked in `page`.
    @inline(__always)
    private func child(
        _ page: ShadowPage, _ level: Level, _ address: GuestVirtual, _ guest: GuestEntry,
        _ needsKernelView: Bool
    ) -> ShadowPage {
        let slot = address.slot(at: level)
        let shadow = page[slot]
        if shadow.isPresent {
            let child = ShadowPage(page.origin(slot))
            let sameRights = (shadow.value ^ guest.value) & (EntryBits.writable | vmPage.pointee.nx) == 0
            let suits = level != .four || !needsKernelView || child.view == page.view
            if sameRights && suits && child.frame == guest.boundedFrame { return child }
        }
        return relink(page, level, slot, guest, needsKernelView)
    }

    /// Links what the guest's entry leads to, in place of what is there. The walk has found
    /// the entry sound and, for a user view, with U.
    @inline(never)
    private func relink(
        _ page: ShadowPage, _ level: Level, _ slot: Int, _ guest: GuestEntry, _ needsKernelView: Bool
    ) -> ShadowPage {
        var view = page.view
        if page.isOccupied(slot) {
            // A slot that went over to the kernel view stays there: no to and fro.
            if ShadowPage(page.origin(slot)).view == .user && !needsKernelView { view = .user }
            clear(page, slot)
        } else if level == .four && slot < TopSlot.kernelHalf && !needsKernelView {
            view = .user
        }
        let child = find(guest.boundedFrame, level.below, view) ?? make(guest.boundedFrame, level.below, view)
        let link = ShadowEntry(
            child.hostAddress, writable: guest.isWritable, noExecute: noExecuteBit(guest))
        self.link(child, as: link, in: page, slot)
        return child
    }

    /// Entries near `slot` that a fault would find ready.
    @inline(never)
    private func fillAround(_ page: ShadowPage, _ slot: Int, _ count: UInt32) {
        let table = page.frame
        let half = Int(count / 2)
        var near = max(slot - half, 0)
        let last = min(slot + half, 511)
        while near <= last {
            if !page.isOccupied(near) { prefill(page, near, guestEntry(table, near)) }
            near += 1
        }
    }

    /// Maps what an entry says, if it needs no fault first, into an empty slot of level 1.
    func prefill(_ page: ShadowPage, _ slot: Int, _ entry: GuestEntry) {
        let leaf = deriveLeaf(entry, page.view)
        guard leaf.isPresent else { return }
        place(leaf, entry.boundedFrame, in: page, slot)
    }
}

extension LastPathPointer {
    /// Whether it still is the way to the level-1 table for that address.
    @inline(__always)
    func leads(to address: GuestVirtual) -> Bool {
        let tag = pointee.tag
        return (tag ^ address.value) >> 21 == 0 && tag & 1 != 0
            && pointee.changes == state.pointee.pathChanges
            && ccore_load64(UInt(pointee.fourthAddress)) == pointee.fourth.value
            && ccore_load64(UInt(pointee.thirdAddress)) == pointee.third.value
            && ccore_load64(UInt(pointee.secondAddress)) == pointee.second.value
    }
}
