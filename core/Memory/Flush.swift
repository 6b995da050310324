// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Who owes which TLB a flush. Each vCPU's debt is nothing, one page, or everything, and is
// paid by that vCPU itself in `settleFlush` before it runs guest code; others are kicked.
//
// Time is `generation`: each full flush gets a number of its own, larger than all before,
// and what must be flushed carries as its stamp the number of the latest flush before it.
// So a vCPU has flushed since a stamp exactly if its own last number is larger.
//
// A vCPU that is away from the core's world holds no translation of a guest: every way in
// flushes its whole TLB (CR4.PGE changes). It is not kicked, and nothing waits for it. The
// module says who is away (`penumbra_vcpu.in_world`): it sets the mark, fences, and only then
// enters; we change the tables, fence, and only then look. Between its entry and `enterWorld`
// a vCPU could pick translations up unrecorded; `changes` tells whether anything was removed
// meanwhile.

import CCore
import CPenumbra

/// What to flush.
public enum FlushExtent {
    case page(GuestVirtual)
    case all
}

extension ShadowMemory {
    @inline(__always)
    var vcpuRecord: RecordPointer { record(of: vcpu) }

    /// How often an entry was taken from a shadow, or narrowed, since the VM began.
    @inline(__always)
    var removals: UInt64 { state.pointee.changes }

    @inline(__always)
    private var vcpuCount: UInt32 { min(vmPage.pointee.vcpu_count, UInt32(PENUMBRA_MAX_VCPUS)) }

    /// A guest's flush, of its own TLB and those of others. After it, no access may succeed
    /// that the guest's tables do not allow: what is out of sync is derived again first.
    /// - Parameter vcpus: a bit per vCPU. Those in the world are to be kicked
    ///   (`vcpusToKick`) before the guest is told that the flush is done.
    public func flush(_ extent: FlushExtent, vcpus: UInt64) -> MemoryStatus {
        locked {
            if case .page(let address) = extent, vcpus == 1 << UInt64(vcpu) {
                return flushOwn(address)
            }
            guard resyncAll() else { return .needsFlush }
            state.pointee.changes &+= 1
            var id: UInt32 = 0
            while id < vcpuCount {
                if vcpus >> UInt64(id) & 1 != 0 { owe(id, extent) }
                id += 1
            }
            return .done
        }
    }

    /// The flush of a page on this vCPU alone. It is paid at once if nothing else is owed.
    @inline(__always)
    private func flushOwn(_ address: GuestVirtual) -> MemoryStatus {
        guard resyncAll() else { return .needsFlush }
        flushResynced(address)
        return .done
    }

    /// The same where all shadows are in line.
    @inline(__always)
    func flushResynced(_ address: GuestVirtual) {
        state.pointee.changes &+= 1
        if vcpuRecord.pointee.owed == .none && vcpuRecord.pointee.isInWorld {
            flushPage(address)
        } else {
            owePage(vcpu, address)
        }
    }

    /// Whether this vCPU must call `settleFlush` before it runs guest code. Takes no lock:
    /// a debt that another vCPU adds after this look comes with a kick.
    @inline(__always)
    public var owesFlush: Bool { vcpuRecord.pointee.owed != .none }

    /// Pays this vCPU's debt with the instructions themselves, and records it.
    /// - Parameter cr3: what is in CR3 now, or shall be.
    public func settleFlush(cr3: UInt64) {
        locked {
            let record = vcpuRecord
            switch record.pointee.owed {
            case .none:
                return
            case .page:
                flushPage(GuestVirtual(record.pointee.owedPage))
            case .all:
                ccore_load_cr3(cr3)
                state.pointee.generation += 1
                record.pointee.flushed = state.pointee.generation
                counters.add(PENUMBRA_COUNTER_tlb_flushes)
            }
            record.pointee.owed = .none
        }
    }

    @inline(never)
    private func flushPage(_ address: GuestVirtual) {
        ccore_invlpg(address.value)
        if vmPage.pointee.flags & UInt32(PENUMBRA_VM_LA57) != 0 { ccore_invlpg(address.alias.value) }
        counters.add(PENUMBRA_COUNTER_page_flushes)
    }

    /// Whether anything at all may be owed to a TLB, this vCPU's or another's.
    @inline(__always)
    var isAnythingOwed: Bool { owesFlush || state.pointee.othersOwe != 0 }

    /// Other vCPUs that are in the world and owe a flush, a bit each.
    /// Without debts of others this takes no lock: an operation's own debts are seen by it.
    @inline(__always)
    public func vcpusToKick() -> UInt64 {
        state.pointee.othersOwe == 0 ? 0 : debtors()
    }

    @inline(never)
    private func debtors() -> UInt64 {
        locked {
            var mask: UInt64 = 0
            var id: UInt32 = 0
            while id < vcpuCount {
                if id != vcpu && mayHoldTranslations(id) && record(of: id).pointee.owed != .none {
                    mask |= 1 << UInt64(id)
                }
                id += 1
            }
            if mask == 0 { state.pointee.othersOwe = 0 }
            return mask
        }
    }

    /// On the way out to the module: from here on this vCPU holds no translation.
    public func leaveWorld() {
        locked {
            vcpuRecord.pointee.isInWorld = false
            vcpuRecord.pointee.changesSeen = state.pointee.changes
        }
    }

    /// On the way in, after CR3 has been loaded and before anything else here.
    public func enterWorld() {
        locked { enterWorldLocked() }
    }

    func enterWorldLocked() {
        let record = vcpuRecord
        guard !record.pointee.isInWorld else { return }
        record.pointee.isInWorld = true
        state.pointee.generation += 1
        record.pointee.flushed = state.pointee.generation
        let keepsTranslations = vmPage.pointee.flags & UInt32(PENUMBRA_VM_PCID) != 0
        let missedSomething = record.pointee.changesSeen != state.pointee.changes
        record.pointee.owed = missedSomething || keepsTranslations ? .all : .none
    }

    // MARK: - Under the lock

    @inline(__always)
    private func owe(_ id: UInt32, _ extent: FlushExtent) {
        switch extent {
        case .page(let address): owePage(id, address)
        case .all: oweFull(id)
        }
    }

    /// Whether this vCPU has entered the world and is in it now.
    @inline(__always)
    func mayHoldTranslations(_ id: UInt32) -> Bool {
        guard record(of: id).pointee.isInWorld else { return false }
        if id == vcpu { return true }
        ccore_fence()
        return isInWorldNow(id)
    }

    @inline(__always)
    func oweFull(_ id: UInt32) {
        guard mayHoldTranslations(id) else { return }
        record(of: id).pointee.owed = .all
        if id != vcpu { state.pointee.othersOwe = 1 }
    }

    @inline(__always)
    func owePage(_ id: UInt32, _ address: GuestVirtual) {
        let record = record(of: id)
        guard mayHoldTranslations(id) else { return }
        if id != vcpu { state.pointee.othersOwe = 1 }
        let page = address.value & ~4095
        if record.pointee.owed == .none {
            record.pointee.owed = .page
            record.pointee.owedPage = page
        } else if record.pointee.owed == .page && record.pointee.owedPage != page {
            record.pointee.owed = .all
        }
    }

    /// Every vCPU in the world that has not flushed since that stamp owes a full flush.
    func owe(flushSince stamp: UInt64) {
        var id: UInt32 = 0
        while id < vcpuCount {
            if record(of: id).pointee.flushed <= stamp { oweFull(id) }
            id += 1
        }
    }

    /// The oldest last flush of all vCPUs in the world: what is stamped earlier is in no TLB.
    func flushedByAll() -> UInt64 {
        var oldest = UInt64.max
        var id: UInt32 = 0
        while id < vcpuCount {
            if mayHoldTranslations(id) { oldest = min(oldest, record(of: id).pointee.flushed) }
            id += 1
        }
        return oldest
    }

    /// Whether all vCPUs in the world but this one have flushed since that stamp.
    func othersFlushed(since stamp: UInt64) -> Bool {
        var id: UInt32 = 0
        while id < vcpuCount {
            let isOther = id != vcpu && mayHoldTranslations(id)
            if isOther && record(of: id).pointee.flushed <= stamp { return false }
            id += 1
        }
        return true
    }
}
