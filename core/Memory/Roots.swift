// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Root tables. Each vCPU has up to two current ones, for guest kernel and guest user; a
// current root is never dropped, whatever the guest does to its frame, because a processor
// may be running on it: it is emptied instead, and refills by faults.
//
// Entry 261 of every root is the core's (vm.slot_guest) and belongs to no bookkeeping.
//
// On a host with 5-level tables CR3 names a *companion*: a page whose entries 0 and 511
// lead to the root and which is empty otherwise. Both halves of the root thus appear at a
// second, 57-bit canonical address each (GuestVirtual.alias), with the same rights; a
// single-page flush takes both.

import CCore
import CPenumbra

extension ShadowMemory {
    /// Makes `frame` the root of this vCPU in that mode. As on hardware it flushes: tables
    /// out of sync are derived again, and this vCPU owes its TLB a full flush.
    public func loadRoot(_ frame: GuestFrame, mode: GuestMode) -> MemoryStatus {
        locked {
            guard let frame = self.frame(numbered: UInt64(frame.value)) else { return .refused }
            let entry = tableEntry(of: frame)
            guard entry.isPresent else { return .needsFrame(frame, count: 1) }
            guard canBeTable(frame, entry) else { return .refused }
            enterWorldLocked()
            guard resyncAll() else { return .needsFlush }
            let ready = prepareToFill()
            guard case .done = ready else { return ready }
            let view = rootView(mode)
            let root = find(frame, .four, view) ?? makeRoot(frame, view)
            setCurrent(root.index, mode)
            oweFull(vcpu)
            counters.add(PENUMBRA_COUNTER_root_loads)
            return .done
        }
    }

    /// Whether the frame of that number could be a root now.
    public func checkRoot(_ number: UInt64) -> MemoryStatus {
        locked {
            guard let frame = frame(numbered: number) else { return .refused }
            let entry = tableEntry(of: frame)
            guard entry.isPresent else { return .needsFrame(frame, count: 1) }
            return canBeTable(frame, entry) ? .done : .refused
        }
    }

    /// Leaves this vCPU without a root in that mode.
    public func unloadRoot(mode: GuestMode) {
        locked {
            setCurrent(0, mode)
            oweFull(vcpu)
        }
    }

    /// What CR3 must name to run this vCPU in that mode, if a root is loaded.
    public func rootAddress(mode: GuestMode) -> HostPhysical? {
        locked {
            let index = currentRoot(mode)
            guard index != 0 else { return nil }
            let companion = descriptorPointer(index).pointee.companion
            return Pool.hostAddress(companion != 0 ? companion : index)
        }
    }

    @inline(__always)
    func rootView(_ mode: GuestMode) -> View {
        mode == .kernel ? .kernel : .user
    }

    @inline(__always)
    func currentRoot(_ mode: GuestMode) -> UInt32 {
        let record = vcpuRecord
        return mode == .kernel ? record.pointee.kernelRoot : record.pointee.userRoot
    }

    /// The new root counts before the old one stops to, in case they are the same.
    private func setCurrent(_ index: UInt32, _ mode: GuestMode) {
        let old = currentRoot(mode)
        if index != 0 { use(index) }
        lastPath(of: vcpu, mode).pointee.tag = 0
        lastUpdatePath(of: vcpu).pointee.tag = 0
        if mode == .kernel {
            vcpuRecord.pointee.kernelRoot = index
        } else {
            vcpuRecord.pointee.userRoot = index
        }
        if old != 0 { disuse(old) }
    }

    private func use(_ index: UInt32) {
        let descriptor = descriptorPointer(index)
        if descriptor.pointee.rootUses == 0 { state.pointee.droppablePages -= 1 }
        descriptor.pointee.rootUses += 1
    }

    private func disuse(_ index: UInt32) {
        let descriptor = descriptorPointer(index)
        descriptor.pointee.rootUses -= 1
        if descriptor.pointee.rootUses == 0 { state.pointee.droppablePages += 1 }
    }

    private func makeRoot(_ frame: GuestFrame, _ view: View) -> ShadowPage {
        let root = make(frame, .four, view)
        let current = currentRoot(.kernel)
        if view == .kernel && current != 0 { inherit(root, from: ShadowPage(current)) }
        return root
    }

    /// Kernel halves are alike in all processes: what the current root has linked there, a
    /// new one links at once where the guest's own entries agree, without a fault each.
    private func inherit(_ root: ShadowPage, from current: ShadowPage) {
        current.forEachOccupied { slot in
            // Linking may evict the oldest link of a full list: one of the current root's.
            guard slot >= TopSlot.kernelHalf, current.isOccupied(slot) else { return }
            let child = ShadowPage(current.origin(slot))
            let entry = guestEntry(root.frame, slot)
            guard let link = deriveLink(entry, to: child, in: root) else { return }
            self.link(child, as: link, in: root, slot)
        }
    }

    /// What every root carries besides the guest's own entries.
    func prepareRoot(_ page: ShadowPage) {
        page[Int(PENUMBRA_SLOT)] = ShadowEntry(vmPage.pointee.slot_guest)
        guard vmPage.pointee.flags & UInt32(PENUMBRA_VM_LA57) != 0 else { return }
        let companion = Pool.take()
        let link = ShadowEntry(page.hostAddress, writable: true, noExecute: 0)
        descriptorPointer(companion).pointee.kind = .companion
        descriptorPointer(companion).pointee.companion = page.index
        ShadowPage(companion)[0] = link
        ShadowPage(companion)[511] = link
        page.descriptor.pointee.companion = companion
    }

    /// The reverse of `prepareRoot`; the companion waits in quarantine like its root.
    func retireRoot(_ page: ShadowPage) {
        page[Int(PENUMBRA_SLOT)] = .empty
        let companion = page.descriptor.pointee.companion
        guard companion != 0 else { return }
        ShadowPage(companion)[0] = .empty
        ShadowPage(companion)[511] = .empty
        descriptorPointer(companion).pointee.companion = 0
        page.descriptor.pointee.companion = 0
        Pool.quarantine(companion)
    }
}
