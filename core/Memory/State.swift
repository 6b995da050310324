// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What the subsystem keeps: per VM (MemoryState, at the start of PENUMBRA_CORE_STATE), per
// pool page (PageDescriptor), per guest frame (FrameInfo). All of it begins as zeroes, and
// zeroes are a valid beginning.

import CCore
import CPenumbra

/// What the personality wants, for the whole VM.
public struct MemoryPolicy: Equatable {
    public let rawValue: UInt32
    @inline(__always) public init(rawValue: UInt32) { self.rawValue = rawValue }

    @inline(__always) public func contains(_ other: MemoryPolicy) -> Bool {
        rawValue & other.rawValue == other.rawValue
    }
    @inline(__always) public func union(_ other: MemoryPolicy) -> MemoryPolicy {
        MemoryPolicy(rawValue: rawValue | other.rawValue)
    }

    @inline(__always) public static var none: MemoryPolicy { MemoryPolicy(rawValue: 0) }

    /// Guest kernels write page tables through read-only mappings and expect it to work
    /// (Xen PV): such a write to a table unsyncs it instead of faulting.
    @inline(__always) public static var tablesWritableThroughReadOnly: MemoryPolicy {
        MemoryPolicy(rawValue: 1)
    }

    /// An explicit update that makes an entry present also fills its shadow.
    @inline(__always) public static var prefillUpdates: MemoryPolicy { MemoryPolicy(rawValue: 2) }
}

/// What a vCPU owes its TLB before it may run guest code again.
enum OwedFlush: UInt8 {
    case none = 0
    case page = 1
    case all = 2
}

/// One vCPU as memory sees it.
struct VCPURecord {
    /// `generation` as of this vCPU's last full flush.
    var flushed: UInt64 = 0
    /// The page to flush when `owed` is `.page`.
    var owedPage: UInt64 = 0
    /// `changes` when it left the world.
    var changesSeen: UInt64 = 0
    /// Pool indices of the current roots, 0: none.
    var kernelRoot: UInt32 = 0
    var userRoot: UInt32 = 0
    var owed: OwedFlush = .none
    /// It may hold translations. Away from the core's world it holds none.
    var isInWorld: Bool = false
}

/// The way to the level-1 table that a vCPU's last fill in one mode, or its last update by
/// address, went: both come in runs, and the next is mostly under the same one. It holds as
/// long as nothing above level 1 was unlinked (`pathChanges`) and the guest's three entries
/// above are what they were.
struct LastPath {
    /// Bits 63:21 of the address, bits 20:1 the pool page (of a fill), bit 0 valid.
    var tag: UInt64
    var changes: UInt64
    /// Core addresses of the guest's entries, and their values.
    var fourthAddress: UInt64
    var thirdAddress: UInt64
    var secondAddress: UInt64
    var fourth: GuestEntry
    var third: GuestEntry
    var second: GuestEntry

    @inline(__always) var page: ShadowPage { ShadowPage(UInt32(tag >> 1 & 0xf_ffff)) }
}

/// A frame that holds tables and may have changed since its shadows were derived.
struct UnsyncSlot {
    var frame: UInt32
    /// When its writable mappings were last taken away.
    var stamp: UInt64
}

/// The state's first page. The second holds the vCPU records (`record(of:)`), the third and
/// fourth the last paths of fills, the fifth those of updates (`lastPath(of:)`).
struct MemoryState {
    /// Ticket lock over everything in this file: `next` to draw, `serving` to enter.
    var lockNext: UInt32
    var lockServing: UInt32

    /// Grows with each full flush of any vCPU: the clock that stamps are taken from.
    var generation: UInt64
    /// Grows with each removal from a shadow, or change of its rights; see `enterWorld` and `hasUsedSlice`.
    var changes: UInt64

    /// Grows when a path through the shadows may have ended: an entry above level 1 went or
    /// changed, a frame went, or it can no longer be a table.
    var pathChanges: UInt64

    // Pool.
    var freeHead: UInt32
    var freeCount: UInt32
    /// Pages 1 ... usedPages have been handed out at least once.
    var usedPages: UInt32
    var quarantineHead: UInt32
    var quarantineTail: UInt32
    var quarantineCount: UInt32
    /// A limit below the module's, 0: none.
    var poolLimit: UInt32
    /// Where the pool ended when `reserve` last looked; it grows, so this is never too high.
    var poolEnd: UInt32
    /// Shadow pages that are no vCPU's current root.
    var droppablePages: UInt32
    /// Where reclaim goes on.
    var clockHand: UInt32
    /// Pages with room for another object, by SlabKind.
    var partialNodes: UInt32
    var partialOrigins: UInt32

    var policy: UInt32
    /// The frame of the last table that `writeTable` wrote to with no flush since, and one
    /// more; 0: none.
    var lastWrittenTable: UInt32
    /// Some vCPU was made to owe a flush by another, which has to kick it.
    var othersOwe: UInt32
    var unsyncCount: UInt32
    var unsync: InlineArray<64, UnsyncSlot>
}

enum Bounds {
    /// Frames that may be out of sync at once.
    static var unsyncFrames: UInt32 { 64 }
    /// Unsync slots that one operation may take: three new tables and the frame written to.
    static var unsyncPerOperation: UInt32 { 4 }
    /// Entries in one reverse list; beyond it the oldest is given up and faults back in.
    static var listEntries: UInt32 { 1024 }
    /// Pool pages that one operation may take. A fill needs three shadow pages, two pages
    /// of origins and one of list nodes; a root a page, its companion, one page of origins
    /// and, for 240 inherited links, three of nodes.
    static var pagesPerOperation: UInt32 { 8 }
    /// Pages that one call of reclaim looks at.
    static var reclaimScan: UInt32 { 512 }
    /// Neighbours that one fault may fill.
    static var neighbours: UInt32 { 16 }
    /// Times that an entry may change under an operation before the guest is made to redo it.
    static var retries: Int { 16 }
}

/// What a pool page is used for.
enum PageKind: UInt8 {
    /// Free, or never used.
    case free = 0
    case shadow = 1
    /// The fifth level above a root, on LA57 hosts.
    case companion = 2
    case nodes = 3
    case origins = 4
    /// Empty, but a TLB may still refer to it.
    case quarantined = 5
}

/// Which of a guest's rights a shadow page renders; see ShadowMemory.swift.
enum View: UInt8 {
    /// User pages only: U is required at every level.
    case user = 0
    /// U is ignored, since the guest kernel runs in ring 3.
    case kernel = 1
}

/// Bookkeeping of one pool page.
struct PageDescriptor {
    /// Entries of other shadow pages that link this one.
    var parents: EntryList
    /// The guest's table frame.
    var frame: UInt32
    /// Next shadow page of the same frame.
    var nextOfFrame: UInt32
    /// Links of the free list, the quarantine, or a list of slab pages.
    var next: UInt32
    var previous: UInt32
    /// Slab object with, per slot, the guest frame mapped (level 1) or the pool page linked.
    var origins: UInt32
    /// Pool page of a root's companion.
    var companion: UInt32
    /// Quarantine: `generation` when it became empty.
    var stamp: UInt64
    /// Occupied slots, or live objects of a slab page.
    var live: UInt16
    /// How often it is a vCPU's current root.
    var rootUses: UInt16
    var kind: PageKind
    var level: UInt8
    var view: View
    /// Touched since reclaim last looked.
    var isReferenced: Bool
    var padding: (UInt64, UInt64)
    /// A bit per slot that holds an entry (slot 261 of roots apart), or per live object.
    var occupancy: InlineArray<8, UInt64>
}

/// Bookkeeping of one guest frame; exists once the frame is present.
struct FrameInfo {
    /// Shadow leaves that map this frame.
    var mappings: EntryList
    /// Bits 19:0 first shadow page of this frame, bits 31:24 FrameFlags.
    var shadowAndFlags: UInt32
    /// Low half of `generation` when a writable mapping was last taken away.
    var staleStamp: UInt32

    @inline(__always) var firstShadow: UInt32 {
        get { shadowAndFlags & 0xf_ffff }
        set { shadowAndFlags = shadowAndFlags & ~0xf_ffff | newValue }
    }

    @inline(__always) func has(_ flag: FrameFlag) -> Bool { shadowAndFlags & flag.bit != 0 }

    @inline(__always) mutating func set(_ flag: FrameFlag, _ on: Bool) {
        shadowAndFlags = on ? shadowAndFlags | flag.bit : shadowAndFlags & ~flag.bit
    }

    /// It has shadows that rely on nobody writing to it unseen.
    @inline(__always) var forbidsWriting: Bool {
        shadowAndFlags & 0xf_ffff != 0 && !has(.open)
    }
}

struct FrameFlag {
    let bit: UInt32
    /// In the unsync list.
    @inline(__always) static var listed: FrameFlag { FrameFlag(bit: 1 << 24) }
    /// May be mapped writable although it holds tables; implies `listed`.
    @inline(__always) static var open: FrameFlag { FrameFlag(bit: 1 << 25) }
    /// The guest declared it a table.
    @inline(__always) static var markedTable: FrameFlag { FrameFlag(bit: 1 << 26) }
    /// The core writes to it at will: it can be no table.
    @inline(__always) static var claimed: FrameFlag { FrameFlag(bit: 1 << 27) }
}

extension ShadowMemory {
    /// The VM's memory lock, the only one here: fair, and held within one public operation,
    /// each of which is bounded (Bounds). Taken and given back in `locked`, nowhere else.
    @inline(__always)
    func locked<T>(_ body: () -> T) -> T {
        let next = Windows.state &+ UInt(0)
        let serving = Windows.state &+ UInt(4)
        let ticket = ccore_fetch_add32(next, 1)
        while ccore_load_acquire32(serving) != ticket { ccore_pause() }
        let result = body()
        // Tickets wrap around: only equality counts.
        ccore_store_release32(serving, ticket &+ 1)
        return result
    }
}
