// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// Which frames of a Xen PV guest's RAM hold what at its start, in the order of Xen's toolstack
/// (Xen's xc_dom_build_image), packed upward:
///
///     kernel | [initrd] | [P2M] | start_info | xenstore | console | page tables | stack | padding
///     ───────────────────────── mapped from VIRT_BASE on ─────────────────────────────────────────
///     [initrd] | [P2M | its page tables]
///     ─ unmapped ─  ── at INIT_P2M ──
///
/// Initrd and P2M (the guest's list of machine frames) go below if the kernel's notes allow it.
public struct XenDomainLayout: Equatable, Sendable {
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case memory(needed: UInt64, given: UInt64)
        case mapping(frames: UInt64)
        case badNote(String, UInt64)

        public var description: String {
            switch self {
            case .memory(let needed, let given):
                "kernel, initial RAM disk and their tables need \(Self.mebibytes(needed)) MiB, the guest has "
                    + "\(given >> 8) MiB: give it more memory"
            case .mapping(let frames):
                "kernel and initial RAM disk need \(Self.mebibytes(frames)) MiB of the first mapping, "
                    + "which ends at 1024 MiB: use smaller ones"
            case .badNote(let name, let value):
                "the kernel's Xen note \(name), 0x\(String(value, radix: 16)), is no possible address"
            }
        }

        private static func mebibytes(_ frames: UInt64) -> UInt64 { (frames + 255) >> 8 }
    }

    private static let frameSize = UInt64(PENUMBRA_PAGE_SIZE)
    /// The first mapping ends at such a boundary, with so much free behind the stack.
    private static let (mappingAlignment, mappingReserve): (UInt64, UInt64) = (1024, 128)

    let virtualBase: UInt64
    let ramFrames: UInt64
    /// Frames, all from here on.
    let startInfo, xenStore, console, stack: UInt64
    let tables: Range<UInt64>
    /// The first mapping covers frames 0 ..< mappedEnd.
    let mappedEnd: UInt64
    let initrd: Range<UInt64>?
    let p2m: Range<UInt64>
    let p2mAddress: UInt64
    /// Tables for `p2mAddress`; empty if the P2M is in the first mapping.
    let p2mTables: Range<UInt64>

    /// `kernelEnd` is the first frame behind the kernel, the initial RAM disk's size is in bytes.
    init(kernelEnd: UInt64, initrdSize: UInt64?, ramFrames: UInt64, notes: XenNotes) throws(Problem) {
        try Self.check(notes)
        virtualBase = notes.virtualBase
        self.ramFrames = ramFrames
        let initrdFrames = initrdSize.map { ($0 + Self.frameSize - 1) / Self.frameSize }
        let p2mFrames = (ramFrames + GuestTables.entries - 1) / GuestTables.entries
        var next = Cursor(kernelEnd)

        var initrd = notes.moduleIsFrame ? nil : initrdFrames.map { next.take($0) }
        let mappedP2M = notes.initialP2M == nil ? next.take(p2mFrames) : nil
        (startInfo, xenStore, console) = (next.take(), next.take(), next.take())
        let first = try Self.firstMapping(from: next.frame, base: virtualBase)
        (tables, stack, mappedEnd) = (first.tables, first.stack, first.end)
        next = Cursor(mappedEnd)
        if notes.moduleIsFrame { initrd = initrdFrames.map { next.take($0) } }
        self.initrd = initrd
        p2m = mappedP2M ?? next.take(p2mFrames)
        p2mAddress = notes.initialP2M ?? virtualBase + p2m.lowerBound * Self.frameSize
        let p2mTableCount = notes.initialP2M.map { GuestTables.count(at: $0, frames: p2mFrames) } ?? 0
        p2mTables = next.take(p2mTableCount)
        guard next.frame <= ramFrames else { throw .memory(needed: next.frame, given: ramFrames) }
    }

    /// Where a frame of the first mapping is.
    func address(of frame: UInt64) -> UInt64 { virtualBase + frame * Self.frameSize }

    private struct Cursor {
        private(set) var frame: UInt64
        init(_ frame: UInt64) { self.frame = frame }

        mutating func take() -> UInt64 { take(1).lowerBound }

        mutating func take(_ count: UInt64) -> Range<UInt64> {
            defer { frame += count }
            return frame..<(frame + count)
        }
    }

    /// Both addresses: canonical, whole pages, in different slots of the top-level table.
    private static func check(_ notes: XenNotes) throws(Problem) {
        func isPossible(_ address: UInt64) -> Bool {
            address % frameSize == 0 && Int64(bitPattern: address << 16) >> 16 == Int64(bitPattern: address)
        }
        guard isPossible(notes.virtualBase) else { throw .badNote("VIRT_BASE", notes.virtualBase) }
        guard let p2m = notes.initialP2M else { return }
        guard isPossible(p2m), p2m % GuestTables.topSpan == 0,
            p2m / GuestTables.topSpan != notes.virtualBase / GuestTables.topSpan
        else { throw .badNote("INIT_P2M", p2m) }
    }

    /// Tables, stack and padding, where the tables must map themselves.
    private static func firstMapping(
        from start: UInt64, base: UInt64
    ) throws(Problem) -> (tables: Range<UInt64>, stack: UInt64, end: UInt64) {
        var count: UInt64 = 0
        while true {
            let tables = start..<(start + count)
            let stack = tables.upperBound
            let end =
                (stack + 1 + mappingReserve + mappingAlignment - 1) / mappingAlignment * mappingAlignment
            // Linux copies one level-2 table into its own: there must be no second.
            guard base % GuestTables.largeSpan + end * frameSize <= GuestTables.largeSpan else {
                throw .mapping(frames: end)
            }
            // More tables make a longer mapping, never a shorter: this ends.
            let needed = 1 + GuestTables.count(at: base, frames: end)
            if needed == count { return (tables, stack, end) }
            count = needed
        }
    }
}
