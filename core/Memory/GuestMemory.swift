// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The core's own access to guest memory by guest-virtual address: translate by the walker,
// with the rights of the mode and accessed and dirty set as a processor would, then copy
// through the window. A call takes at most a page of bytes and so touches two frames; both
// are translated before the first byte moves.

import CCore
import CPenumbra

extension ShadowMemory {
    /// Copies guest memory to a core address.
    public func copyIn(to core: UInt, from address: GuestVirtual, count: UInt, mode: GuestMode)
        -> MemoryStatus
    {
        copy(core, address, count, Access(write: false, fetch: false, mode: mode))
    }

    /// Copies from a core address to guest memory. A page table written to this way is
    /// unsynced, as by the guest's own store.
    public func copyOut(to address: GuestVirtual, from core: UInt, count: UInt, mode: GuestMode)
        -> MemoryStatus
    {
        copy(core, address, count, Access(write: true, fetch: false, mode: mode))
    }

    private func copy(
        _ core: UInt, _ address: GuestVirtual, _ count: UInt, _ access: Access
    ) -> MemoryStatus {
        precondition(count <= UInt(PENUMBRA_PAGE_SIZE))
        guard count > 0 else { return .done }
        let inFirst = min(count, UInt(PENUMBRA_PAGE_SIZE) - UInt(address.pageOffset))
        // The end of the address space wraps around to addresses that are checked again.
        let second = GuestVirtual(address.value &+ UInt64(inFirst))
        return locked {
            var first: UInt = 0
            var next: UInt = 0
            let ready = locate(address, access, &first)
            guard case .done = ready else { return ready }
            if inFirst < count {
                let ready = locate(second, access, &next)
                guard case .done = ready else { return ready }
            }
            move(core, first, inFirst, access)
            if inFirst < count { move(core &+ inFirst, next, count - inFirst, access) }
            return .done
        }
    }

    @inline(__always)
    private func move(_ core: UInt, _ guest: UInt, _ count: UInt, _ access: Access) {
        if access.write {
            ccore_copy(guest, core, count)
        } else {
            ccore_copy(core, guest, count)
        }
    }

    /// The window's address of a guest-virtual address, made ready for that access.
    @inline(never)
    private func locate(_ address: GuestVirtual, _ access: Access, _ found: inout UInt) -> MemoryStatus {
        guard address.isCanonical else { return .notCanonical }
        guard !address.isInHole else { return .guestFault(faultError(access, .none)) }
        let root = currentRoot(access.mode)
        guard root != 0 else { return .refused }
        let room = prepareToFill()
        guard case .done = room else { return room }
        var tries = 0
        while tries < Bounds.retries {
            let walk = walk(ShadowPage(root).frame, address)
            guard permits(walk, access) else { return refusal(walk, access) }
            let target = walk.target
            let ready = prepareTarget(target, walk, access, false)
            guard case .done = ready else { return ready }
            if markUsed(walk, address, access) {
                found = window(of: target) &+ UInt(address.pageOffset)
                return .done
            }
            tries += 1
        }
        return .guestFault(faultError(access, .present))
    }
}
