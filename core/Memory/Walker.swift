// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// THE walker of guest page tables (Intel SDM vol. 3, 4.5). Everything that translates a
// guest-virtual address goes through `walk`; what callers want of it they read from the
// result: rights for a fault, the entry's address for an update, the path for a fill.
//
// Guest tables are untrusted and may change at any moment. Each entry is read once,
// atomically; each frame number is bounded by the VM before it is used, and a walk has at
// most four steps.
//
// Large pages are not offered to guests: PS at level 2 and 3 counts as a reserved bit, as
// on a processor without them, and so do frames beyond the VM (addresses beyond
// MAXPHYADDR), tables in read-only frames and in frames that the core writes to.

import CCore
import CPenumbra

struct GuestWalk {
    enum End {
        /// Down to the level that was asked for; there the entry is present.
        case complete
        case notPresent
        case reserved
        /// A table's frame is not here yet.
        case absent(GuestFrame)
    }

    var end: End
    let root: GuestFrame
    /// The entries read, by level; each names the table below it.
    var fourth: GuestEntry
    var third: GuestEntry
    var second: GuestEntry
    var first: GuestEntry
    /// The last entry read.
    var entry: GuestEntry
    /// Bits that all entries read have, and bits that any has: rights are the conjunction
    /// of W and U, and the disjunction of NX.
    var common: UInt64
    var united: UInt64

    @inline(__always) var isNoExecute: Bool { united & EntryBits.noExecute != 0 }

    /// U in all entries below the top level.
    @inline(__always) var isUserBelowRoot: Bool {
        third.value & second.value & first.value & EntryBits.user != 0
    }

    /// W in all entries above level 1.
    @inline(__always) var isWritableAboveLeaf: Bool {
        fourth.value & third.value & second.value & EntryBits.writable != 0
    }

    /// The frame that the last entry names; within the VM if the walk is complete.
    @inline(__always) var target: GuestFrame { entry.boundedFrame }

    /// Whether the frame is one of the tables on the path of a complete walk.
    @inline(__always) func passes(_ frame: GuestFrame) -> Bool {
        root == frame || fourth.boundedFrame == frame || third.boundedFrame == frame
            || second.boundedFrame == frame
    }
}

extension GuestEntry {
    /// The frame number of an entry that has been checked against the VM.
    @inline(__always) var boundedFrame: GuestFrame {
        GuestFrame(UInt32(truncatingIfNeeded: frameNumber))
    }
}

extension ShadowMemory {
    /// Follows the guest's tables from `root` to the entry for `address`, at level 1 or 2.
    /// - Returns: how far it came. With `.complete` the last entry is present and its frame
    ///   number is within the VM.
    @inline(__always)
    func walk(_ root: GuestFrame, _ address: GuestVirtual, toLevelTwo: Bool = false) -> GuestWalk {
        let none = GuestEntry(0)
        var walk = GuestWalk(
            end: .complete, root: root, fourth: none, third: none, second: none, first: none,
            entry: none, common: ~0, united: 0)
        guard step(&walk, root, address.slot(at: .four), EntryBits.pageSize) else { return walk }
        walk.fourth = walk.entry
        guard step(&walk, walk.target, address.slot(at: .three), EntryBits.pageSize) else { return walk }
        walk.third = walk.entry
        guard step(&walk, walk.target, address.slot(at: .two), EntryBits.pageSize) else { return walk }
        walk.second = walk.entry
        if toLevelTwo { return walk }
        guard step(&walk, walk.target, address.slot(at: .one), 0) else { return walk }
        walk.first = walk.entry
        return walk
    }

    /// Reads one entry of a table whose number is within the VM.
    /// - Returns: whether it is present and sound, so that the walk can go on.
    @inline(__always)
    private func step(
        _ walk: inout GuestWalk, _ table: GuestFrame, _ slot: Int, _ reservedBits: UInt64
    ) -> Bool {
        let backing = tableEntry(of: table)
        guard backing.isPresent else {
            walk.end = .absent(table)
            return false
        }
        guard canBeTable(table, backing) else {
            walk.end = .reserved
            return false
        }
        let entry = guestEntry(table, slot)
        walk.entry = entry
        walk.common &= entry.value
        walk.united |= entry.value
        guard entry.isPresent else {
            walk.end = .notPresent
            return false
        }
        guard entry.value & reservedBits == 0, frame(numbered: entry.frameNumber) != nil else {
            walk.end = .reserved
            return false
        }
        return true
    }
}

/// What an access wants.
struct Access {
    var write: Bool
    var fetch: Bool
    /// By an instruction that has faulted before.
    var isRepeated = false
    var mode: GuestMode

    /// Bits that every entry on the path must have.
    @inline(__always) var needed: UInt64 {
        let writable = write ? EntryBits.writable : 0
        return EntryBits.present | writable | (mode == .user ? EntryBits.user : 0)
    }

    /// Bits that it leaves in the leaf.
    @inline(__always) var marks: UInt64 { write ? GuestEntry.accessedDirty : EntryBits.accessed }
}

extension ShadowMemory {
    /// Whether the walk came to its end and the rights on its path allow the access.
    @inline(__always)
    func permits(_ walk: GuestWalk, _ access: Access) -> Bool {
        guard case .complete = walk.end else { return false }
        return walk.common & access.needed == access.needed
            && !(access.fetch && walk.isNoExecute && vmPage.pointee.nx != 0)
    }

    /// What is due when `permits` says no: mostly what the guest gets.
    @inline(never)
    func refusal(_ walk: GuestWalk, _ access: Access) -> MemoryStatus {
        switch walk.end {
        case .absent(let frame): .needsFrame(frame, count: 1)
        case .notPresent: .guestFault(faultError(access, .none))
        case .reserved: .guestFault(faultError(access, .present.union(.reserved)))
        case .complete: .guestFault(faultError(access, .present))
        }
    }

    @inline(__always)
    func faultError(_ access: Access, _ causes: PageFaultError) -> PageFaultError {
        var error = causes
        if access.write { error = error.union(.write) }
        if access.mode == .user { error = error.union(.user) }
        if access.fetch && vmPage.pointee.nx != 0 { error = error.union(.fetch) }
        return error
    }

    /// Sets accessed along the path, and dirty in the leaf of a write, as a processor does:
    /// by compare and exchange, so that an entry that the guest just changed stays as it is.
    /// - Returns: false if one changed; the walk must be done again.
    @inline(__always)
    func markUsed(_ walk: GuestWalk, _ address: GuestVirtual, _ access: Access) -> Bool {
        let wanted = access.marks
        let isMarked = walk.common & EntryBits.accessed != 0 && walk.first.value & wanted == wanted
        return isMarked || mark(walk, address, wanted)
    }

    @inline(never)
    private func mark(_ walk: GuestWalk, _ address: GuestVirtual, _ leafBits: UInt64) -> Bool {
        let third = walk.fourth.boundedFrame
        let second = walk.third.boundedFrame
        let first = walk.second.boundedFrame
        return mark(walk.fourth, walk.root, address.slot(at: .four), EntryBits.accessed)
            && mark(walk.third, third, address.slot(at: .three), EntryBits.accessed)
            && mark(walk.second, second, address.slot(at: .two), EntryBits.accessed)
            && mark(walk.first, first, address.slot(at: .one), leafBits)
    }

    @inline(__always)
    private func mark(_ entry: GuestEntry, _ table: GuestFrame, _ slot: Int, _ bits: UInt64) -> Bool {
        let wanted = entry.value | bits
        return wanted == entry.value
            || ccore_compare_exchange64(guestEntryAddress(table, slot), entry.value, wanted)
    }
}
