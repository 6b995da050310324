// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Giving shadows up: because their frame goes, because the pool is at its limit (second
// chance: a page that a fault has touched since the hand last passed is spared once), or
// because all must go.

import CCore
import CPenumbra

extension ShadowMemory {
    /// Drops about so many shadow pages that were not used lately.
    /// - Returns: how many went. They are free once the vCPUs in the world have flushed.
    @discardableResult
    public func reclaim(_ pages: UInt32) -> UInt32 {
        locked { reclaimLocked(pages) }
    }

    @discardableResult
    func reclaimLocked(_ pages: UInt32) -> UInt32 {
        counters.add(PENUMBRA_COUNTER_reclaims)
        // Twice around is enough for the second chance; the bound is for large pools.
        let scan = min(Bounds.reclaimScan, 2 * state.pointee.usedPages)
        var looked: UInt32 = 0
        var dropped: UInt32 = 0
        while looked < scan && dropped < pages {
            looked += 1
            let page = advanceClock()
            guard isDroppable(page) else { continue }
            if page.descriptor.pointee.isReferenced {
                page.descriptor.pointee.isReferenced = false
            } else {
                drop(page)
                dropped += 1
            }
        }
        return dropped
    }

    private func advanceClock() -> ShadowPage {
        let hand = state.pointee.clockHand
        state.pointee.clockHand = hand < state.pointee.usedPages ? hand + 1 : 1
        return ShadowPage(state.pointee.clockHand)
    }

    private func isDroppable(_ page: ShadowPage) -> Bool {
        page.descriptor.pointee.kind == .shadow && page.descriptor.pointee.rootUses == 0
    }

    /// Drops every shadow, in slices of 64 pages; current roots are emptied.
    /// - Returns: true when nothing is left to do.
    public func dropAll() -> Bool {
        locked {
            var left: UInt32 = 64
            var looked: UInt32 = 0
            while state.pointee.droppablePages > 0 && left > 0 && looked < Bounds.reclaimScan {
                looked += 1
                let page = advanceClock()
                guard isDroppable(page) else { continue }
                drop(page)
                left -= 1
            }
            guard state.pointee.droppablePages == 0 else { return false }
            emptyCurrentRoots()
            return true
        }
    }

    private func emptyCurrentRoots() {
        var id: UInt32 = 0
        while id < UInt32(PENUMBRA_MAX_VCPUS) {
            let roots = record(of: id)
            if roots.pointee.kernelRoot != 0 { empty(ShadowPage(roots.pointee.kernelRoot)) }
            if roots.pointee.userRoot != 0 { empty(ShadowPage(roots.pointee.userRoot)) }
            id += 1
        }
        owe(flushSince: state.pointee.generation)
    }

    /// Forgets a frame that is about to leave the VM: its shadows and every mapping of it.
    /// Refused for frames that the core writes to. It may be given away once all vCPUs in the world have flushed (`vcpusToKick`).
    public func dropFrame(_ frame: GuestFrame) -> MemoryStatus {
        locked {
            guard let frame = self.frame(numbered: UInt64(frame.value)) else { return .refused }
            guard tableEntry(of: frame).isPresent else { return .done }
            guard !frameInfoPointer(frame).pointee.has(.claimed) else { return .refused }
            dropShadows(of: frame)
            let mappings = frameInfoPointer(frame).mappings
            while mappings.pointee.count > 0 {
                let mapping = mappings.any
                clear(mapping.page, mapping.slot)
            }
            frameInfoPointer(frame).pointee.set(.markedTable, false)
            state.pointee.pathChanges &+= 1
            owe(flushSince: state.pointee.generation)
            return .done
        }
    }
}
