// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The pool of core pages. A page is zero whenever it is free: pages arrive zeroed, and
// whoever gives one back has removed its entries one by one.
//
//   never used ──┐
//                ├─► take ─► in use ─► quarantine ─► free ─► take
//   free list ───┘              └──── (slab pages) ──► free
//
// Quarantine is a queue in order of stamps: a shadow page that became empty may still be
// in some processor's paging-structure caches, and becomes free once each vCPU in the
// world has done a full flush since.
//
// An operation asks once, at its start, for all the pages that it might take (`reserve`);
// so it either does all of its work or has changed nothing when it says `.needsPool`.

import CCore
import CPenumbra

enum Pool {
    /// Where the core sees a pool page.
    @inline(__always)
    static func window(_ index: UInt32) -> UInt {
        Windows.pool &+ UInt(index) &* UInt(PENUMBRA_PAGE_SIZE)
    }

    @inline(__always)
    static func hostAddress(_ index: UInt32) -> HostPhysical {
        let entry = ccore_load64(Windows.poolTable &+ UInt(index) &* 8)
        return HostPhysical(entry & UInt64(PENUMBRA_FRAME_ADDRESS_MASK))
    }

    /// How many pages there may be in all.
    static var limit: UInt32 {
        let own = state.pointee.poolLimit
        let given = vmPage.pointee.pool_limit
        return own != 0 && own < given ? own : given
    }

    /// Pages that can be taken right now: freed ones, and handed over but never used ones.
    @inline(__always)
    static var available: UInt32 {
        let given = min(vmPage.pointee.pool_pages, limit)
        let used = state.pointee.usedPages + 1
        return state.pointee.freeCount + (given > used ? given - used : 0)
    }

    /// Whether there are certainly enough for an operation, by what is known already.
    @inline(__always)
    static var isAmple: Bool {
        let end = state.pointee.freeCount &+ state.pointee.poolEnd
        return end > state.pointee.usedPages &+ Bounds.pagesPerOperation
    }

    /// A zeroed page with a zeroed descriptor; `reserve` has made sure that there is one.
    static func take() -> UInt32 {
        let head = state.pointee.freeHead
        guard head != 0 else {
            state.pointee.usedPages += 1
            precondition(state.pointee.usedPages < vmPage.pointee.pool_pages)
            return state.pointee.usedPages
        }
        state.pointee.freeHead = descriptorPointer(head).pointee.next
        state.pointee.freeCount -= 1
        descriptorPointer(head).pointee.next = 0
        descriptorPointer(head).pointee.stamp = 0
        return head
    }

    /// Back to the free list (a stamp stays, for the checker), at once: for pages that no processor has walked lately.
    static func release(_ index: UInt32) {
        let descriptor = descriptorPointer(index)
        descriptor.pointee.kind = .free
        descriptor.pointee.next = state.pointee.freeHead
        state.pointee.freeHead = index
        state.pointee.freeCount += 1
    }

    /// An empty shadow page waits until no TLB can refer to it.
    static func quarantine(_ index: UInt32) {
        let descriptor = descriptorPointer(index)
        descriptor.pointee.kind = .quarantined
        descriptor.pointee.stamp = state.pointee.generation
        descriptor.pointee.next = 0
        if state.pointee.quarantineTail == 0 {
            state.pointee.quarantineHead = index
        } else {
            descriptorPointer(state.pointee.quarantineTail).pointee.next = index
        }
        state.pointee.quarantineTail = index
        state.pointee.quarantineCount += 1
    }

    /// Frees what every vCPU in the world has flushed since.
    static func drainQuarantine(flushedByAll generation: UInt64) {
        while state.pointee.quarantineHead != 0 {
            let index = state.pointee.quarantineHead
            let descriptor = descriptorPointer(index)
            guard descriptor.pointee.stamp < generation else { return }
            state.pointee.quarantineHead = descriptor.pointee.next
            if state.pointee.quarantineHead == 0 { state.pointee.quarantineTail = 0 }
            state.pointee.quarantineCount -= 1
            release(index)
        }
    }
}

extension ShadowMemory {
    /// Makes sure that one operation's pages can be taken, or says what to do first.
    @inline(__always)
    func reserve() -> MemoryStatus {
        Pool.isAmple ? .done : reserveSlowly()
    }

    @inline(never)
    private func reserveSlowly() -> MemoryStatus {
        state.pointee.poolEnd = min(vmPage.pointee.pool_pages, Pool.limit)
        if Pool.available >= Bounds.pagesPerOperation { return .done }
        Pool.drainQuarantine(flushedByAll: flushedByAll())
        if Pool.available >= Bounds.pagesPerOperation { return .done }
        if vmPage.pointee.pool_pages < Pool.limit { return .needsPool }
        // What waits in quarantine may be enough; if not, make more of it.
        if state.pointee.quarantineCount < Bounds.pagesPerOperation {
            reclaimLocked(Bounds.pagesPerOperation)
            Pool.drainQuarantine(flushedByAll: flushedByAll())
            if Pool.available >= Bounds.pagesPerOperation { return .done }
        }
        // Either something waits for a flush, or the clock hand has moved on and the next
        // call looks further; neither can go on for ever.
        guard state.pointee.quarantineCount > 0 || state.pointee.droppablePages > 0 else {
            return .outOfPool
        }
        owe(flushSince: state.pointee.generation)
        return .needsFlush
    }

    /// Pretends that the pool ends there; 0 lifts it. Pages in use beyond it stay in use.
    public func limitPool(_ pages: UInt32) {
        locked {
            state.pointee.poolLimit = pages
            state.pointee.poolEnd = 0
        }
    }
}
