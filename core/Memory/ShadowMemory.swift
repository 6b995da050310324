// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Shadow paging. A guest's page tables hold guest frame numbers and rights for rings that
// the guest does not have; the processor walks *shadow* tables instead, made from them
// entry by entry. The jobs, and where each is done:
//
//   1. Frames.swift       what guest frames exist and where they are
//   2. Pool.swift, Slab.swift   the core's own pages, and small objects in them
//   3. Walker.swift       THE walker of guest tables
//   4. Derive.swift       f: guest entry -> shadow entry
//   5. ShadowPage.swift   shadow pages, and every change of an entry
//      ReverseMap.swift   who maps a frame, who links a shadow page
//   6. Fault.swift        demand: a fault fills, or is the guest's own
//   7. Update.swift       explicit updates
//   8. Unsync.swift       implicit updates: guests that write to their tables
//   9. Roots.swift        what CR3 names
//  10. Flush.swift        who owes which TLB what
//  11. Reclaim.swift      giving shadows up
//  12. GuestMemory.swift  the core's own access to guest memory
//  13. Invariants.swift   the checker
//
//      guest frames (tables)                 pool pages (shadows)
//      ┌──────┐   level 4    root (kernel view)   root (user view)
//      │  A   │ ───────────► ┌──────┐             ┌──────┐
//      └──┬───┘              │ low ─┼──────┐ ┌────┼─ low │
//         ▼                  │ 261  │      ▼ ▼    │ 261  │   261: the core itself
//      ┌──────┐   level 3    │ high ┼─┐  ┌──────┐ │      │
//      │  B   │ ──────────────────────┼─►│ user │ └──────┘
//      └──┬───┘              └──────┘ │  │ view │
//         ▼                           │  └──────┘
//        ...                          └─► kernel view of another frame ...
//
// A shadow page is named by (frame, level, view) and shared by all that reach it. It
// renders its own table's rights alone: W and NX of higher tables stand in higher shadows.
//
// Views. Guest kernel and guest user both run in ring 3, so U/S cannot part them; they have
// roots of their own instead. The *user* view holds only what U allows at its level. The
// *kernel* view ignores U. Most of the lower half is user memory in both, so a kernel root
// links the user view there, until the kernel touches something without U: then that slot
// of that root is linked to the kernel view, with all that is below it. Nothing in a user
// view ever maps what U forbids.
//
// Lagging. A shadow entry may be older than the guest's, as a TLB entry may: whatever it
// allows was allowed by the guest's tables at some moment since the guest's last flush.
//
// Restarting. No operation exits. One that needs a frame, pool pages or a flush elsewhere
// says so; nothing it did until then is wrong to repeat.

import CCore
import CPenumbra

/// How every operation ends.
public enum MemoryStatus: Equatable {
    case done
    /// The guest gets a page fault with this error code; the caller sets CR2.
    case guestFault(PageFaultError)
    /// The address is none: the guest gets a general protection fault.
    case notCanonical
    /// These frames must be made present; then redo.
    case needsFrame(GuestFrame, count: UInt32)
    /// The pool must grow; then redo.
    case needsPool
    /// Settle this vCPU's flush, kick `vcpusToKick()`, let interrupts in, then redo.
    case needsFlush
    /// Nothing is left to reclaim: the VM cannot go on.
    case outOfPool
    /// An argument that names nothing in this VM.
    case refused
    /// A store to a table that only reads as a guest's fault: do it by `writeTable`.
    case tableWrite
}

/// The memory of the VM as one of its vCPUs operates on it. A small value: all state lies
/// behind the windows (State.swift).
public struct ShadowMemory {
    let vcpu: UInt32
    let counters: Counters

    /// - Parameter vcpu: whose faults, roots and flushes these are.
    @inline(__always)
    public init(vcpu: UInt32, counters: Counters) {
        self.vcpu = vcpu
        self.counters = counters
    }

    /// Set once, before the first root is loaded.
    public func setPolicy(_ policy: MemoryPolicy) {
        locked { state.pointee.policy = policy.rawValue }
    }
}
