// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Frames that hold tables are *watched*: mapped read-only, so that no guest store changes
// them unseen. Two kinds of frame are not, for a while, and stand in the unsync list:
//
//   open      The guest wrote to it by a plain instruction. It is mapped writable; its
//             shadows show what its entries were, or are, or were in between: stale as a
//             TLB is. The next flush or root load derives the occupied slots again.
//   settling  Its writable mappings are gone, but another vCPU's TLB may still hold one.
//             It is derived again at each resync until all of them have flushed.
//
//              write fault                    resync, all others flushed
//   watched ───────────────► open ───────────────────────────► watched
//      ▲                      │ ▲
//      │ resync, all flushed  │ │ write fault
//      └────── settling ◄─────┘ │ resync, a TLB may still allow writes
//                  └────────────┘
//
// No guest store is missed: one made through a mapping finds the frame listed (open), one
// made through a stale TLB entry finds it listed (settling), and a flush by the guest, after
// which it may expect to see its store, derives all listed frames again.

import CCore
import CPenumbra

extension ShadowMemory {
    /// What an operation that may fill needs: pool pages, and room in the unsync list.
    @inline(__always)
    func prepareToFill() -> MemoryStatus {
        if state.pointee.unsyncCount > Bounds.unsyncFrames - Bounds.unsyncPerOperation {
            guard resyncAll() else { return .needsFlush }
            // Only settling frames are left: the other vCPUs must flush first.
            if state.pointee.unsyncCount > Bounds.unsyncFrames - Bounds.unsyncPerOperation {
                owe(flushSince: state.pointee.generation)
                return .needsFlush
            }
        }
        return reserve()
    }

    /// Called when a frame gets its first shadow.
    func beginWatching(_ frame: GuestFrame) {
        protect(frame)
        let stamp = staleWritersStamp(frame)
        owe(flushSince: stamp)
        if !othersFlushed(since: stamp) { list(frame, stamp) }
    }

    /// Lets the guest write to a frame that holds tables, until the next resync.
    func open(_ frame: GuestFrame) {
        if !frameInfoPointer(frame).pointee.has(.listed) { list(frame, 0) }
        frameInfoPointer(frame).pointee.set(.open, true)
        counters.add(PENUMBRA_COUNTER_unsyncs)
    }

    private func list(_ frame: GuestFrame, _ stamp: UInt64) {
        let info = frameInfoPointer(frame)
        guard !info.pointee.has(.listed) else { return }
        let count = Int(state.pointee.unsyncCount)
        state.pointee.unsync[count] = UnsyncSlot(frame: frame.value, stamp: stamp)
        state.pointee.unsyncCount += 1
        info.pointee.set(.listed, true)
    }

    /// The last slot takes the place of the one that goes.
    private func unlist(at index: Int) {
        let frame = GuestFrame(state.pointee.unsync[index].frame)
        frameInfoPointer(frame).pointee.set(.listed, false)
        state.pointee.unsyncCount -= 1
        let last = Int(state.pointee.unsyncCount)
        state.pointee.unsync[index] = state.pointee.unsync[last]
        state.pointee.unsync[last] = UnsyncSlot(frame: 0, stamp: 0)
    }

    /// A frame that lost its last shadow needs no settling. An open one stays listed: resync
    /// still has to take away what it lent.
    func forgetIfUnused(_ frame: GuestFrame) {
        let info = frameInfoPointer(frame)
        guard info.pointee.firstShadow == 0, info.pointee.has(.listed), !info.pointee.has(.open)
        else { return }
        var index = 0
        while state.pointee.unsync[index].frame != frame.value { index += 1 }
        unlist(at: index)
    }

    /// Brings all shadows in line with the guest's tables: at most 64 frames of eight
    /// shadows each. Entries are read only after write access has been taken away.
    /// - Returns: false if it took so much away that the rest has to wait until interrupts have been
    ///   let in: `.needsFlush`. What is done then stays done, so that each call brings it on.
    @inline(__always)
    func resyncAll() -> Bool {
        state.pointee.lastWrittenTable = 0
        return state.pointee.unsyncCount == 0 || resyncListed()
    }

    @inline(never)
    private func resyncListed() -> Bool {
        var index = Int(state.pointee.unsyncCount)
        while index > 0 {
            index -= 1
            close(at: index)
        }
        let began = removals
        index = Int(state.pointee.unsyncCount)
        while index > 0 {
            if hasUsedSlice(since: began) { return false }
            index -= 1
            resync(at: index)
        }
        return true
    }

    /// Open to settling.
    private func close(at index: Int) {
        let frame = GuestFrame(state.pointee.unsync[index].frame)
        guard frameInfoPointer(frame).pointee.has(.open) else { return }
        frameInfoPointer(frame).pointee.set(.open, false)
        protect(frame)
        let stamp = staleWritersStamp(frame)
        state.pointee.unsync[index].stamp = stamp
        owe(flushSince: stamp)
    }

    /// This vCPU is in the core and flushes before it runs guest code again, so only the
    /// others' TLBs can still allow a write.
    private func resync(at index: Int) {
        let slot = state.pointee.unsync[index]
        let frame = GuestFrame(slot.frame)
        let settled = othersFlushed(since: slot.stamp)
        var shadow = frameInfoPointer(frame).pointee.firstShadow
        while shadow != 0 {
            let page = ShadowPage(shadow)
            page.forEachOccupied { rederive(page, $0) }
            shadow = page.descriptor.pointee.nextOfFrame
        }
        if settled { unlist(at: index) }
        counters.add(PENUMBRA_COUNTER_resyncs)
    }

    /// A guest kernel's store to an entry of a table that it maps read-only, done for it:
    /// new = old & keep | set, atomically, and rendered in the table's shadows.
    /// - Parameter old: what stood there.
    /// - Returns: `.refused` if this is no such store.
    public func writeTable(
        at address: GuestVirtual, keeping keep: UInt64, setting set: UInt64, old: inout UInt64
    ) -> MemoryStatus {
        locked {
            let root = currentRoot(.kernel)
            guard address.isCanonical, !address.isInHole, root != 0 else { return .refused }
            let ready = prepareToFill()
            guard case .done = ready else { return ready }
            let walk = walk(ShadowPage(root).frame, address)
            let access = Access(write: true, fetch: false, mode: .kernel)
            guard case .complete = walk.end, mayForce(walk, access) else { return .refused }
            let table = walk.target
            let slot = Int(truncatingIfNeeded: address.pageOffset >> 3)
            guard tableEntry(of: table).isPresent, !tableEntry(of: table).isReadOnly,
                exchange(guestEntryAddress(table, slot), keep, set, &old)
            else { return .refused }
            state.pointee.lastWrittenTable = table.value &+ 1
            counters.add(PENUMBRA_COUNTER_table_updates)
            render(GuestEntry(old & keep | set), table, slot)
            return .done
        }
    }

    /// The guest may change the entry meanwhile; false if it does so all the time.
    private func exchange(_ address: UInt, _ keep: UInt64, _ set: UInt64, _ old: inout UInt64) -> Bool {
        var tries = 0
        while tries < Bounds.retries {
            old = ccore_load64(address)
            if ccore_compare_exchange64(address, old, old & keep | set) { return true }
            tries += 1
        }
        return false
    }

    /// PIN and UNPIN of a personality: a marked frame counts as a table even without a
    /// shadow (see MemoryPolicy); one that is no longer marked loses its shadows.
    public func markTable(_ frame: GuestFrame, _ isTable: Bool) -> MemoryStatus {
        locked {
            guard let frame = self.frame(numbered: UInt64(frame.value)) else { return .refused }
            guard tableEntry(of: frame).isPresent else { return .needsFrame(frame, count: 1) }
            frameInfoPointer(frame).pointee.set(.markedTable, isTable)
            if !isTable { dropShadows(of: frame) }
            return .done
        }
    }
}
