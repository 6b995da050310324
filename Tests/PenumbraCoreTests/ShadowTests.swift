// SPDX-License-Identifier: Apache-2.0
//
// One behaviour of the shadow tables each, on tables made for it.

import CCore
import CPenumbra
import Testing

@testable import PenumbraCore

/// A machine whose guest has a root in frame 1, tables from frame 2 on, data from frame 20.
final class SmallGuest {
    let machine: FakeMachine
    let root = 1
    var tables = Array(2..<20)
    static let low: UInt64 = 0x40_0000
    static let high: UInt64 = 0xffff_8880_0000_0000

    init(
        vcpus: Int = 1, poolLimit: Int = 256, flags: UInt32 = 0, policy: MemoryPolicy = .none,
        present: Bool = true
    ) {
        machine = FakeMachine(frames: 128, poolLimit: poolLimit, vcpus: vcpus, flags: flags, present: present)
        machine.memory().setPolicy(policy)
    }

    func map(_ address: UInt64, _ frame: Int, bits: UInt64 = 0x7) {
        machine.map(address, to: frame, root: root, tables: &tables, bits: bits)
    }

    /// Current root in both modes on every vCPU.
    func start() {
        for vcpu in 0..<machine.vcpus {
            for mode in [GuestMode.kernel, .user] {
                #expect(machine.run(vcpu) { $0.loadRoot(GuestFrame(UInt32(self.root)), mode: mode) } == .done)
            }
        }
    }

    func leafSlot(_ address: UInt64) -> (table: Int, slot: Int) {
        (machine.table(address, root: root, level: 1), Int(address >> 12) & 511)
    }

    func leafAddress(_ address: UInt64) -> GuestPhysical {
        let (table, slot) = leafSlot(address)
        return GuestPhysical(UInt64(table) << 12 | UInt64(slot) << 3)
    }

    func shadows(of frame: Int) -> Int { machine.shadows(of: frame) }

    func flush(_ extent: FlushExtent = .all, vcpu: Int = 0, mask: UInt64 = 1) {
        #expect(machine.run(vcpu) { $0.flush(extent, vcpus: mask) } == .done)
        machine.kick(vcpu)
    }
}

extension MemoryTests {
    @Suite struct Layout {
        @Test("bookkeeping has the sizes that the module allots")
        func sizes() {
            #expect(MemoryLayout<PageDescriptor>.stride == Int(PENUMBRA_SHADOW_DESCRIPTOR_SIZE))
            #expect(MemoryLayout<FrameInfo>.stride == Int(PENUMBRA_FRAME_INFO_SIZE))
            #expect(MemoryLayout<MemoryState>.size <= Int(PENUMBRA_PAGE_SIZE))
            #expect(MemoryLayout<VCPURecord>.stride * Int(PENUMBRA_MAX_VCPUS) <= 31 * Int(PENUMBRA_PAGE_SIZE))
            #expect(MemoryLayout<PageDescriptor>.offset(of: \.parents) == 0)
            #expect(MemoryLayout<FrameInfo>.offset(of: \.mappings) == 0)
            #expect(MemoryLayout<MemoryState>.offset(of: \.lockServing) == 4)
        }

        @Test("the hole is slots 257 to 271, and canonical is 48 bits")
        func addresses() {
            #expect(GuestVirtual(UInt64(PENUMBRA_HOLE_START)).isInHole)
            #expect(GuestVirtual(UInt64(PENUMBRA_HOLE_END) - 1).isInHole)
            #expect(!GuestVirtual(UInt64(PENUMBRA_HOLE_END)).isInHole)
            #expect(!GuestVirtual(0x7fff_ffff_f000).isInHole)
            #expect(GuestVirtual(0x7fff_ffff_ffff).isCanonical)
            #expect(!GuestVirtual(0x8000_0000_0000).isCanonical)
            #expect(GuestVirtual(0xffff_8000_0000_0000).isCanonical)
            #expect(GuestVirtual(UInt64(PENUMBRA_CORE_BASE)).slot(at: .four) == Int(PENUMBRA_SLOT))
        }
    }

    @Suite struct Frames {
        @Test("frame numbers are bounded by the VM, to the last bit")
        func bounds() {
            let machine = FakeMachine(frames: 8)
            let memory = machine.memory()
            #expect(memory.frame(numbered: 7) == GuestFrame(7))
            for number in [8, 1 << 24, 1 << 32, (1 << 32) + 1, 1 << 40, UInt64.max] as [UInt64] {
                #expect(memory.frame(numbered: number) == nil)
                #expect(memory.coreAddress(of: GuestPhysical(number << 12)) == nil || number << 12 == 0)
            }
            for address in [8 << 12, 0x1_0000_0000_0000, UInt64.max & ~7] as [UInt64] {
                #expect(memory.update(GuestPhysical(address), to: GuestEntry(0)) == .refused)
            }
            #expect(memory.update(GuestPhysical(4), to: GuestEntry(0)) == .refused)
            #expect(memory.loadRoot(GuestFrame(8), mode: .kernel) == .refused)
            #expect(memory.dropFrame(GuestFrame(.max)) == .refused)
        }

        @Test("a guest entry beyond the VM is a reserved-bit fault, and so is a large page")
        func reserved() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 127)
            guest.map(SmallGuest.low + 4096, 128)
            guest.start()
            #expect(guest.machine.access(0, SmallGuest.low, .read).0 == .done)
            let fault = PageFaultError.present.union(.reserved)
            #expect(guest.machine.access(0, SmallGuest.low + 4096, .read).0 == .guestFault(fault))
            let two = guest.machine.table(SmallGuest.low, root: guest.root, level: 2)
            guest.machine.setEntry(two, 2, guest.machine.entry(two, 2) | 0x80)
            guest.machine.processors[0].tlb = [:]
            #expect(guest.machine.access(0, SmallGuest.low + 8192, .read).0 == .guestFault(fault))
        }

        @Test("read-only frames are never mapped writable and can be no tables")
        func readOnly() {
            let guest = SmallGuest()
            guest.machine.setPresent(30, true, readOnly: true)
            guest.map(SmallGuest.low, 30)
            guest.start()
            #expect(guest.machine.access(0, SmallGuest.low, .read).1 == 30)
            let refused = PageFaultError.present.union(.write)
            #expect(guest.machine.access(0, SmallGuest.low, .write).0 == .guestFault(refused))
            #expect(guest.machine.entry(guest.leafSlot(SmallGuest.low).table, 0) & 0x40 == 0)
            #expect(guest.machine.run { $0.loadRoot(GuestFrame(30), mode: .kernel) } == .refused)
            let address = GuestPhysical(30 << 12)
            #expect(guest.machine.run { $0.update(address, to: GuestEntry(1)) } == .refused)
            guest.machine.check()
        }

        @Test("a frame that the core writes to can be no table")
        func claimed() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read)
            let table = guest.leafSlot(SmallGuest.low).table
            #expect(guest.machine.run { $0.claimForCore(GuestFrame(UInt32(table))) } == .done)
            let fault = PageFaultError.present.union(.reserved)
            #expect(guest.machine.access(0, SmallGuest.low + 4096, .read).0 == .guestFault(fault))
            #expect(guest.machine.run { $0.claimForCore(GuestFrame(1)) } == .refused)
            guest.machine.check()
        }

        @Test("absent frames are asked for one by one, and the fault is redone")
        func absent() {
            let guest = SmallGuest(present: false)
            guest.map(SmallGuest.low, 30)
            guest.start()
            #expect(guest.machine.access(0, SmallGuest.low, .write).1 == 30)
            #expect(guest.machine.populations == 5)
            #expect(!guest.machine.isPresent(31))
            guest.machine.check()
        }

        @Test("a dropped frame is in no shadow and in no TLB")
        func drop() {
            let guest = SmallGuest(vcpus: 2)
            guest.map(SmallGuest.low, 30)
            guest.map(SmallGuest.high, 30)
            guest.start()
            for vcpu in 0..<2 {
                _ = guest.machine.access(vcpu, SmallGuest.low, .write)
                _ = guest.machine.access(vcpu, SmallGuest.high, .read)
            }
            #expect(frameInfoPointer(GuestFrame(30)).pointee.mappings.count == 2)
            #expect(guest.machine.run { $0.dropFrame(GuestFrame(30)) } == .done)
            #expect(guest.machine.memory().vcpusToKick() == 2)
            guest.machine.kick(0)
            #expect(frameInfoPointer(GuestFrame(30)).pointee.mappings.count == 0)
            #expect(guest.machine.processors.allSatisfy { $0.tlb.isEmpty })
            guest.machine.check()
        }
    }

    @Suite struct Faults {
        @Test("error codes come from the guest's own tables and mode")
        func errors() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30, bits: 0x5)
            guest.map(SmallGuest.low + 4096, 31, bits: 0x3)
            guest.map(SmallGuest.low + 8192, 32, bits: 1 << 63 | 0x7)
            guest.start()
            func status(_ offset: UInt64, _ attempt: Attempt, _ mode: GuestMode) -> MemoryStatus {
                guest.machine.access(0, SmallGuest.low + offset, attempt, mode).0
            }
            #expect(status(0, .write, .kernel) == .guestFault(.present.union(.write)))
            #expect(status(0, .write, .user) == .guestFault(.present.union(.write).union(.user)))
            #expect(status(4096, .read, .user) == .guestFault(.present.union(.user)))
            #expect(status(4096, .write, .kernel) == .done)
            #expect(status(8192, .fetch, .user) == .guestFault(.present.union(.fetch).union(.user)))
            #expect(status(8192, .write, .user) == .done)
            #expect(status(12288, .write, .kernel) == .guestFault(.write))
            #expect(
                guest.machine.memory().fault(GuestVirtual(UInt64(PENUMBRA_HOLE_START)), .write, mode: .user)
                    == .guestFault(.write.union(.user)))
            #expect(guest.machine.memory().fault(GuestVirtual(1 << 47), .none, mode: .user) == .notCanonical)
        }

        @Test("accessed is set along the path, dirty by a write only, and before it is writable")
        func accessedDirty() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read)
            for level in 1...4 {
                let table = guest.machine.table(SmallGuest.low, root: 1, level: level)
                let slot = Int(SmallGuest.low >> UInt64(3 + 9 * level)) & 511
                #expect(guest.machine.entry(table, slot) & 0x60 == 0x20)
            }
            #expect(guest.machine.hardwareWalk(0, SmallGuest.low, .kernel)?.writable == false)
            _ = guest.machine.access(0, SmallGuest.low, .write)
            let (table, slot) = guest.leafSlot(SmallGuest.low)
            #expect(guest.machine.entry(table, slot) & 0x60 == 0x60)
            #expect(guest.machine.counter(PENUMBRA_COUNTER_page_faults) == 2)
        }

        @Test("neighbours that were accessed before are filled along, others are not")
        func neighbours() {
            let guest = SmallGuest()
            for page in 0..<8 as Range<UInt64> {
                guest.map(SmallGuest.low + page * 4096, 30 + Int(page), bits: page % 2 == 0 ? 0x27 : 0x7)
            }
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read, neighbours: 16)
            for page in 0..<8 as Range<UInt64> {
                let found = guest.machine.hardwareWalk(0, SmallGuest.low + page * 4096, .kernel)
                #expect((found != nil) == (page % 2 == 0))
            }
            guest.machine.check()
        }

        @Test("the short form of a fault sees each table above change", arguments: [2, 3, 4])
        func lastPath(level: Int) {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.map(SmallGuest.low + 4096, 31)
            guest.map(SmallGuest.low + 8192, 32)
            let table = guest.machine.table(SmallGuest.low, root: 1, level: level)
            guest.map(SmallGuest.low + 12288, table)
            guest.start()
            #expect(guest.machine.access(0, SmallGuest.low + 12288, .write).1 == table)
            #expect(guest.machine.access(0, SmallGuest.low, .read).1 == 30)
            #expect(guest.machine.access(0, SmallGuest.low + 4096, .write).1 == 31)
            // A plain store to the open table, and no flush: nothing has told the shadows.
            let slot = Int(SmallGuest.low >> UInt64(3 + 9 * level)) & 511
            guest.machine.setEntry(table, slot, 0)
            #expect(guest.machine.access(0, SmallGuest.low + 8192, .read).0 == .guestFault(.none))
            guest.machine.check()
        }

        @Test("a fault that the shadow already permits is spurious, and refreshes that page")
        func spurious() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read)
            #expect(guest.machine.memory().fault(GuestVirtual(SmallGuest.low), .none, mode: .kernel) == .done)
            #expect(guest.machine.counter(PENUMBRA_COUNTER_spurious_faults) == 1)
            #expect(guest.machine.memory().owesFlush)
            guest.machine.settle(0)
            #expect(guest.machine.processors[0].tlb.isEmpty)
            #expect(!guest.machine.memory().owesFlush)
        }
    }

    @Suite struct Views {
        @Test("kernel and user roots share one shadow of user memory")
        func shared() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read, .user)
            _ = guest.machine.access(0, SmallGuest.low, .read, .kernel)
            for level in 1...3 {
                let table = guest.machine.table(SmallGuest.low, root: 1, level: level)
                #expect(guest.shadows(of: table) == 1)
            }
            #expect(guest.shadows(of: 1) == 2)
            guest.machine.check()
        }

        @Test("the first kernel access without U relinks that slot, and user mode gains nothing")
        func relink() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.map(SmallGuest.low + 4096, 31, bits: 0x3)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .write, .user)
            _ = guest.machine.access(0, SmallGuest.low, .write, .kernel)
            #expect(guest.machine.access(0, SmallGuest.low + 4096, .write, .kernel).1 == 31)
            #expect(guest.shadows(of: guest.leafSlot(SmallGuest.low).table) == 2)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.low + 4096, .user) == nil)
            #expect(
                guest.machine.access(0, SmallGuest.low + 4096, .read, .user).0
                    == .guestFault(.present.union(.user)))
            #expect(guest.machine.access(0, SmallGuest.low, .read, .user).1 == 30)
            #expect(guest.machine.access(0, SmallGuest.low, .read, .kernel).1 == 30)
            guest.machine.check()
        }

        @Test("the upper half of a user root shows user pages only")
        func upperHalf() {
            let guest = SmallGuest()
            guest.map(SmallGuest.high, 30, bits: 0x3)
            guest.map(SmallGuest.high + 4096, 31, bits: 0x7)
            guest.start()
            #expect(guest.machine.access(0, SmallGuest.high, .read, .kernel).1 == 30)
            #expect(guest.machine.access(0, SmallGuest.high + 4096, .read, .user).1 == 31)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.high, .user) == nil)
            guest.machine.check()
        }
    }

    @Suite struct Updates {
        @Test("an explicit update needs no fault, with prefill, and takes back at once")
        func prefill() {
            let guest = SmallGuest(policy: .prefillUpdates)
            guest.map(SmallGuest.high, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.high, .read)
            let next = GuestPhysical(guest.leafAddress(SmallGuest.high).value + 8)
            let entry = GuestEntry(31 << 12 | 0x63)
            #expect(guest.machine.run { $0.update(next, to: entry) } == .done)
            let found = guest.machine.hardwareWalk(0, SmallGuest.high + 4096, .kernel)
            #expect(
                found
                    == Translation(page: FakeMachine.hostPage(ofFrame: 31), writable: true, executable: true))
            #expect(
                guest.machine.run {
                    $0.updateLeaf(at: GuestVirtual(SmallGuest.high + 4096), to: GuestEntry(0))
                } == .done)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.high + 4096, .kernel) == nil)
            guest.machine.check()
        }

        @Test("accessed and dirty survive an update that asks for it, and no other")
        func preserve() {
            let guest = SmallGuest()
            guest.map(SmallGuest.high, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.high, .write)
            let (table, slot) = guest.leafSlot(SmallGuest.high)
            let address = guest.leafAddress(SmallGuest.high)
            _ = guest.machine.run {
                $0.update(address, to: GuestEntry(30 << 12 | 1), preservingAccessedDirty: true)
            }
            #expect(guest.machine.entry(table, slot) == 30 << 12 | 0x61)
            _ = guest.machine.run { $0.update(address, to: GuestEntry(30 << 12 | 1)) }
            #expect(guest.machine.entry(table, slot) == 30 << 12 | 1)
        }

        @Test("changing a link above level 1 unlinks in every view")
        func links() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read, .user)
            _ = guest.machine.access(0, SmallGuest.low, .read, .kernel)
            let two = guest.machine.table(SmallGuest.low, root: 1, level: 2)
            let address = GuestPhysical(UInt64(two) << 12 | 2 << 3)
            #expect(guest.machine.run { $0.update(address, to: GuestEntry(0)) } == .done)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.low, .user) == nil)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.low, .kernel) == nil)
            guest.machine.check()
        }

        @Test("making a table writable drops its shadows")
        func dropRule() {
            let guest = SmallGuest(policy: .prefillUpdates)
            guest.map(SmallGuest.low, 30)
            guest.map(SmallGuest.high, 31)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read, .user)
            _ = guest.machine.access(0, SmallGuest.high, .read)
            let table = guest.leafSlot(SmallGuest.low).table
            #expect(guest.shadows(of: table) == 1)
            let entry = GuestEntry(UInt64(table) << 12 | 0x63)
            #expect(guest.machine.run { $0.update(guest.leafAddress(SmallGuest.high), to: entry) } == .done)
            #expect(guest.shadows(of: table) == 0)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.high, .kernel)?.writable == true)
            guest.machine.check()
        }
    }

    @Suite struct Unsync {
        /// A guest that maps the level-1 table of `low` at `high`.
        func guest(vcpus: Int = 1, bits: UInt64 = 0x3, policy: MemoryPolicy = .none) -> (SmallGuest, Int) {
            let guest = SmallGuest(vcpus: vcpus, policy: policy)
            guest.map(SmallGuest.low, 30)
            let table = guest.leafSlot(SmallGuest.low).table
            guest.map(SmallGuest.high, table, bits: bits)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .write, .user)
            return (guest, table)
        }

        @Test("a store to a table shows after the next flush, and not less")
        func storeAndFlush() {
            let (guest, table) = guest()
            #expect(guest.machine.access(0, SmallGuest.high, .write).1 == table)
            #expect(guest.machine.counter(PENUMBRA_COUNTER_unsyncs) == 1)
            guest.machine.setEntry(table, 0, 31 << 12 | 0x67)
            guest.machine.check()
            guest.flush(.page(GuestVirtual(SmallGuest.low)))
            #expect(guest.machine.access(0, SmallGuest.low, .read, .user).1 == 31)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.high, .kernel)?.writable == false)
            #expect(state.pointee.unsyncCount == 0)
            guest.machine.check()
        }

        @Test("a root load resyncs too")
        func rootLoad() {
            let (guest, table) = guest()
            _ = guest.machine.access(0, SmallGuest.high, .write)
            guest.machine.setEntry(table, 0, 0)
            #expect(guest.machine.run { $0.loadRoot(GuestFrame(1), mode: .kernel) } == .done)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.low, .user) == nil)
            guest.machine.check()
        }

        @Test("with another vCPU that has not flushed, a table settles before it counts as synced")
        func settling() {
            let (guest, table) = guest(vcpus: 2)
            _ = guest.machine.access(1, SmallGuest.high, .write)
            _ = guest.machine.access(0, SmallGuest.high, .write)
            #expect(guest.machine.run { $0.flush(.all, vcpus: 1) } == .done)
            #expect(state.pointee.unsyncCount == 1)
            // vCPU 1 still writes, through its TLB.
            #expect(guest.machine.access(1, SmallGuest.high, .write).1 == table)
            guest.machine.setEntry(table, 0, 31 << 12 | 0x67)
            guest.flush(vcpu: 1, mask: 3)
            #expect(guest.machine.access(0, SmallGuest.low, .read, .user).1 == 31)
            guest.flush(mask: 3)
            #expect(state.pointee.unsyncCount == 0)
            guest.machine.check()
        }

        @Test("a store through a TLB entry older than the table's first shadow is not lost")
        func settlingFromBirth() {
            let guest = SmallGuest(vcpus: 2)
            guest.map(SmallGuest.high, 40)
            guest.start()
            #expect(guest.machine.access(1, SmallGuest.high, .write).1 == 40)
            // Only now frame 40 becomes a table, and vCPU 0 uses it.
            let two = guest.machine.table(SmallGuest.high, root: 1, level: 2)
            guest.machine.setEntry(two, 8, 40 << 12 | 0x7)
            guest.machine.setEntry(40, 0, 30 << 12 | 0x7)
            let mapped = SmallGuest.high + 8 << 21
            #expect(guest.machine.access(0, mapped, .read).1 == 30)
            #expect(guest.machine.hardwareWalk(1, SmallGuest.high, .kernel)?.writable == false)
            #expect(guest.machine.access(1, SmallGuest.high, .write).1 == 40)
            guest.machine.setEntry(40, 0, 31 << 12 | 0x7)
            guest.flush(vcpu: 1, mask: 3)
            #expect(guest.machine.access(0, mapped, .read).1 == 31)
            guest.machine.check()
        }

        @Test("writing to a higher table drops its shadows; to a table on the own path, unsyncs")
        func higherTables() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            let two = guest.machine.table(SmallGuest.low, root: 1, level: 2)
            guest.map(SmallGuest.high, two)
            guest.map(SmallGuest.low + 4096, two)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read, .kernel)
            #expect(guest.machine.access(0, SmallGuest.high, .write).1 == two)
            #expect(guest.shadows(of: two) == 0)
            #expect(guest.machine.access(0, SmallGuest.low + 4096, .write).1 == two)
            guest.machine.check()
            guest.machine.setEntry(two, 2, 0)
            guest.flush()
            #expect(guest.machine.access(0, SmallGuest.low, .read).0 == .guestFault(.none))
            guest.machine.check()
        }

        @Test("a current root that is written to stays a root and follows at the next flush")
        func currentRoot() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.map(SmallGuest.high, 1)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read, .user)
            #expect(guest.machine.access(0, SmallGuest.high, .write).1 == 1)
            guest.machine.setEntry(1, 0, 0)
            guest.flush()
            #expect(guest.machine.access(0, SmallGuest.low, .read, .user).0 == .guestFault(.user))
            #expect(guest.machine.access(0, SmallGuest.high, .read).1 == 1)
            guest.machine.check()
        }

        @Test("the policy lets kernel mode, and no other, write tables through read-only leaves")
        func throughReadOnly() {
            let (plain, _) = guest(bits: 0x1)
            #expect(plain.machine.access(0, SmallGuest.high, .write).0 == .guestFault(.present.union(.write)))
            let (guest, table) = guest(bits: 0x5, policy: .tablesWritableThroughReadOnly)
            #expect(guest.machine.access(0, SmallGuest.high, .write, .kernel).1 == table)
            #expect(
                guest.machine.access(0, SmallGuest.high, .write, .user).0
                    == .guestFault(.present.union(.write).union(.user)))
            guest.machine.check()
            guest.flush()
            #expect(guest.machine.hardwareWalk(0, SmallGuest.high, .kernel)?.writable == false)
            guest.machine.check()
        }

        @Test("one store to a read-only table is done for the guest, the next unsyncs, a flush starts anew")
        func writtenForGuest() {
            let (guest, table) = guest(bits: 0x1, policy: .tablesWritableThroughReadOnly)
            let memory = guest.machine.memory()
            let write = { memory.fault(GuestVirtual(SmallGuest.high), .write, mode: .kernel) }
            for _ in 0..<2 {
                #expect(write() == .tableWrite)
                var old: UInt64 = 0
                let before = guest.machine.entry(table, 511)
                let status = memory.writeTable(
                    at: GuestVirtual(SmallGuest.high + 511 * 8), keeping: 0, setting: before ^ 0x200,
                    old: &old)
                #expect(status == .done && old == before)
                #expect(guest.machine.entry(table, 511) == before ^ 0x200)
                #expect(write() == .done)
                guest.machine.check()
                guest.flush()
            }
            var old: UInt64 = 0
            let elsewhere = GuestVirtual(SmallGuest.high + 0x1000_0000)
            #expect(memory.writeTable(at: elsewhere, keeping: 0, setting: 1, old: &old) == .refused)
        }

        @Test("a lent write in the lower half reaches no user view")
        func lentLow() {
            let guest = SmallGuest(policy: .tablesWritableThroughReadOnly)
            guest.map(SmallGuest.low, 30)
            let table = guest.leafSlot(SmallGuest.low).table
            guest.map(SmallGuest.low + 4096, table, bits: 0x5)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low + 4096, .read, .user)
            _ = guest.machine.access(0, SmallGuest.low + 4096, .read, .kernel)
            #expect(guest.machine.access(0, SmallGuest.low + 4096, .write, .kernel).1 == table)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.low + 4096, .user)?.writable == false)
            guest.machine.check()
        }

        @Test("a marked frame counts as a table without a shadow, until unmarked")
        func marked() {
            let guest = SmallGuest(policy: .tablesWritableThroughReadOnly)
            guest.map(SmallGuest.high, 40, bits: 0x1)
            guest.start()
            #expect(guest.machine.access(0, SmallGuest.high, .write).0 == .guestFault(.present.union(.write)))
            _ = guest.machine.run { $0.markTable(GuestFrame(40), true) }
            #expect(guest.machine.access(0, SmallGuest.high, .write).1 == 40)
            guest.flush()
            _ = guest.machine.run { $0.markTable(GuestFrame(40), false) }
            #expect(guest.machine.access(0, SmallGuest.high, .write).0 == .guestFault(.present.union(.write)))
            guest.machine.check()
        }

        @Test("a read-only frame stays read-only, even when the guest calls it a table")
        func markedReadOnly() {
            let guest = SmallGuest(policy: .tablesWritableThroughReadOnly)
            guest.machine.setPresent(40, true, readOnly: true)
            guest.map(SmallGuest.high, 40, bits: 0x1)
            guest.start()
            _ = guest.machine.run { $0.markTable(GuestFrame(40), true) }
            #expect(guest.machine.access(0, SmallGuest.high, .write).0 == .guestFault(.present.union(.write)))
            guest.machine.check()
        }

        @Test("an instruction that writes to a table on its own code's path gets both")
        func writesOwnPath() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            let two = guest.machine.table(SmallGuest.low, root: 1, level: 2)
            guest.map(SmallGuest.high, two)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .fetch)
            let memory = guest.machine.memory()
            let address = GuestVirtual(SmallGuest.high)
            #expect(memory.fault(address, .write, mode: .kernel, isRepeated: true) == .done)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.low, .kernel)?.executable == true)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.high, .kernel)?.writable == true)
            guest.machine.check()
            guest.machine.setEntry(two, 2, 0)
            guest.flush()
            #expect(guest.machine.access(0, SmallGuest.low, .fetch).0 == .guestFault(.fetch))
            guest.machine.check()
        }

        @Test("more tables than the list holds are written to, and none is forgotten")
        func listFull() {
            let guest = SmallGuest(poolLimit: 512)
            guest.map(SmallGuest.high, 20)
            // 70 level-1 tables (frames 40...109) at 2 MiB steps, each mapped at high + n pages.
            let two = guest.machine.table(SmallGuest.high, root: 1, level: 2)
            for number in 0..<70 {
                guest.machine.setEntry(two, 8 + number, UInt64(40 + number) << 12 | 0x7)
                guest.machine.setEntry(40 + number, 0, 30 << 12 | 0x7)
                guest.map(SmallGuest.high + UInt64(1 + number) * 4096, 40 + number)
            }
            guest.start()
            for number in 0..<70 {
                let mapped = SmallGuest.high + UInt64(8 + number) << 21
                _ = guest.machine.access(0, mapped, .read)
                #expect(
                    guest.machine.access(0, SmallGuest.high + UInt64(1 + number) * 4096, .write).1 == 40
                        + number)
                guest.machine.setEntry(40 + number, 0, 31 << 12 | 0x7)
            }
            guest.flush()
            for number in 0..<70 {
                #expect(guest.machine.access(0, SmallGuest.high + UInt64(8 + number) << 21, .read).1 == 31)
            }
            guest.machine.check()
        }
    }

    @Suite struct Roots {
        @Test("roots carry the core's entry and nothing else in the hole")
        func coreSlot() {
            let guest = SmallGuest()
            guest.start()
            for mode in [GuestMode.kernel, .user] {
                let address = guest.machine.memory().rootAddress(mode: mode)!.value
                let index = UInt32((address - FakeMachine.poolBase) / 4096)
                #expect(ShadowPage(index)[Int(PENUMBRA_SLOT)].value == FakeMachine.slotGuest)
            }
            #expect(
                guest.machine.memory().rootAddress(mode: .user)
                    != guest.machine.memory().rootAddress(mode: .kernel))
            guest.machine.run {
                $0.unloadRoot(mode: .user); return .done
            }
            #expect(guest.machine.memory().rootAddress(mode: .user) == nil)
            guest.machine.check()
        }

        @Test("with 5-level tables CR3 names a companion, and a page flush takes the alias too")
        func companion() {
            let guest = SmallGuest(flags: UInt32(PENUMBRA_VM_LA57))
            guest.map(SmallGuest.low, 30)
            guest.start()
            #expect(guest.machine.access(0, SmallGuest.low, .read, .user).1 == 30)
            let alias = GuestVirtual(SmallGuest.low).alias.value
            guest.machine.processors[0].tlb[FakeProcessor.key(alias, .user)] =
                Translation(page: FakeMachine.hostPage(ofFrame: 30), writable: false, executable: true)
            guest.flush(.page(GuestVirtual(SmallGuest.low)))
            #expect(guest.machine.processors[0].tlb.isEmpty)
            guest.machine.check()
            #expect(guest.machine.run { $0.loadRoot(GuestFrame(50), mode: .user) } == .done)
            #expect(guest.machine.run { $0.loadRoot(GuestFrame(50), mode: .kernel) } == .done)
            #expect(guest.machine.memory().dropAll())
            guest.machine.settle(0)
            guest.machine.check()
        }

        @Test("a full list that evicts one of the current root's links leaves nothing wrong in a new root")
        func inheritsUnderEviction() {
            let guest = SmallGuest(poolLimit: 512)
            let address = { (slot: Int) in 0xffff_0000_0000_0000 | UInt64(slot) << 39 }
            guest.map(address(273), 30)
            let three = UInt64(guest.machine.table(address(273), root: 1, level: 3))
            let roots = [1, 60, 61, 62, 63, 64]
            let last = roots.count - 1
            for (index, root) in roots.enumerated() {
                // Four of 240 slots and one of 64 fill the list; the last root names frame 0 behind the first slot.
                let slots = index < 4 ? 272..<512 : index == 4 ? 272..<336 : 272..<273
                for slot in slots { guest.machine.setEntry(root, slot, three << 12 | 0x67) }
            }
            guest.machine.setEntry(64, 273, 0x67)
            func load(_ root: Int) {
                #expect(guest.machine.run { $0.loadRoot(GuestFrame(UInt32(root)), mode: .kernel) } == .done)
            }
            for root in roots[..<last] {
                load(root)
                for slot in [273] + Array(272..<512) where guest.machine.entry(root, slot) != 0 {
                    #expect(guest.machine.access(0, address(slot), .read).1 == 30)
                }
            }
            load(1)
            load(64)
            guest.machine.check()
            #expect(guest.machine.access(0, address(272), .read).1 == 30)
            #expect(guest.machine.access(0, address(273), .read).0 == .guestFault(.none))
            guest.machine.check()
        }

        @Test("a new root inherits the kernel's half without a fault")
        func inherit() {
            let guest = SmallGuest()
            guest.map(SmallGuest.high, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.high, .read)
            let slot = GuestVirtual(SmallGuest.high).slot(at: .four)
            guest.machine.setEntry(50, slot, guest.machine.entry(1, slot))
            let faults = guest.machine.counter(PENUMBRA_COUNTER_page_faults)
            #expect(guest.machine.run { $0.loadRoot(GuestFrame(50), mode: .kernel) } == .done)
            #expect(guest.machine.access(0, SmallGuest.high, .read).1 == 30)
            #expect(guest.machine.counter(PENUMBRA_COUNTER_page_faults) == faults)
            guest.machine.check()
        }
    }

    @Suite struct Flushes {
        @Test("two pages are more than one: the debt becomes a full flush")
        func debts() {
            let guest = SmallGuest(vcpus: 2)
            guest.start()
            let memory = guest.machine.memory()
            #expect(memory.flush(.page(GuestVirtual(0x1000)), vcpus: 2) == .done)
            #expect(record(of: 1).pointee.owed == .page)
            #expect(memory.flush(.page(GuestVirtual(0x1000)), vcpus: 2) == .done)
            #expect(record(of: 1).pointee.owed == .page)
            #expect(memory.flush(.page(GuestVirtual(0x2000)), vcpus: 2) == .done)
            #expect(record(of: 1).pointee.owed == .all)
            #expect(memory.vcpusToKick() == 2)
            guest.machine.kick(0)
            #expect(memory.vcpusToKick() == 0)
            #expect(guest.machine.counter(PENUMBRA_COUNTER_tlb_flushes, vcpu: 1) > 0)
        }

        @Test("who is away from the world is not kicked, and flushes if it missed something")
        func away() {
            let guest = SmallGuest(vcpus: 2)
            guest.start()
            let other = guest.machine.memory(1)
            other.leaveWorld()
            other.enterWorld()
            #expect(!other.owesFlush)
            other.leaveWorld()
            #expect(guest.machine.memory().flush(.all, vcpus: 3) == .done)
            #expect(guest.machine.memory().vcpusToKick() == 0)
            other.enterWorld()
            #expect(other.owesFlush)
        }

        @Test("a dropped page is not used again before every vCPU in the world has flushed")
        func quarantine() {
            let guest = SmallGuest(vcpus: 2)
            guest.map(SmallGuest.low, 30)
            guest.start()
            _ = guest.machine.access(1, SmallGuest.low, .read, .user)
            let table = guest.leafSlot(SmallGuest.low).table
            let page = frameInfoPointer(GuestFrame(UInt32(table))).pointee.firstShadow
            guest.machine.memory().dropShadows(of: GuestFrame(UInt32(table)))
            let memory = guest.machine.memory()
            func drained() -> Bool {
                Pool.drainQuarantine(flushedByAll: memory.flushedByAll())
                return descriptorPointer(page).pointee.kind == .free
            }
            #expect(!drained())
            guest.machine.settle(0)
            #expect(!drained())
            guest.machine.settle(1)
            #expect(drained())
            guest.machine.check()
        }
    }

    @Suite struct PoolTests {
        @Test("a pool at its limit reclaims, and every page stays reachable")
        func restricted() {
            let guest = SmallGuest(vcpus: 2, poolLimit: 64)
            guest.map(SmallGuest.high, 20)
            let two = guest.machine.table(SmallGuest.high, root: 1, level: 2)
            for number in 0..<70 {
                guest.machine.setEntry(two, 8 + number, UInt64(40 + number) << 12 | 0x7)
                guest.machine.setEntry(40 + number, 0, 30 << 12 | 0x7)
            }
            guest.start()
            for round in 0..<3 {
                for number in 0..<70 {
                    let address = SmallGuest.high + UInt64(8 + number) << 21
                    #expect(guest.machine.access(round % 2, address, .write).1 == 30)
                }
                guest.machine.check()
            }
            #expect(guest.machine.growths == 1)
            #expect(guest.machine.counter(PENUMBRA_COUNTER_reclaims) > 0)
            #expect(guest.machine.kicks > 0)
        }

        @Test("when nothing can be reclaimed the pool says so")
        func exhausted() {
            let guest = SmallGuest()
            guest.machine.memory().limitPool(5)
            #expect(guest.machine.run { $0.loadRoot(GuestFrame(1), mode: .kernel) } == .outOfPool)
            guest.machine.check()
        }

        @Test("dropAll leaves current roots, empty, and everything comes back")
        func dropAll() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .read, .user)
            #expect(guest.machine.memory().dropAll())
            guest.machine.settle(0)
            #expect(guest.machine.hardwareWalk(0, SmallGuest.low, .user) == nil)
            #expect(guest.machine.access(0, SmallGuest.low, .read, .user).1 == 30)
            guest.machine.check()
        }
    }

    @Suite struct ReverseMaps {
        @Test("a list holds what was added and not removed, in any order")
        func chain() {
            let machine = FakeMachine()
            var random = SeededGenerator(seed: 42)
            var expected: Set<UInt32> = []
            let list = frameInfoPointer(GuestFrame(3)).mappings
            for step in 0..<4_000 {
                let value = UInt32.random(in: 512..<900, using: &random)
                let entry = EntryReference(value: value)
                if expected.contains(value) {
                    list.remove(entry)
                    expected.remove(value)
                } else if random.chance(step < 2_000 ? 90 : 20) {
                    list.add(entry)
                    expected.insert(value)
                }
                guard step % 50 == 0 else { continue }
                var found: Set<UInt32> = []
                list.forEach { found.insert($0.value) }
                #expect(found == expected)
                #expect(Int(list.pointee.count) == expected.count)
            }
            while list.pointee.count > 0 { list.remove(list.any) }
            #expect(list.pointee.head == 0)
            #expect(state.pointee.partialNodes == 0)
            machine.check()
        }

        @Test("a frame mapped more than 1,024 times loses its oldest mapping, and only that")
        func bound() {
            let guest = SmallGuest()
            guest.map(SmallGuest.high, 20)
            let two = guest.machine.table(SmallGuest.high, root: 1, level: 2)
            for number in 0..<3 {
                guest.machine.setEntry(two, 8 + number, UInt64(40 + number) << 12 | 0x7)
                for slot in 0..<512 { guest.machine.setEntry(40 + number, slot, 30 << 12 | 0x7) }
            }
            guest.start()
            let mapped = SmallGuest.high + 8 << 21
            for page in 0..<1_100 as Range<UInt64> {
                _ = guest.machine.access(0, mapped + page * 4096, .write)
            }
            #expect(frameInfoPointer(GuestFrame(30)).pointee.mappings.count == Bounds.listEntries)
            #expect(guest.machine.hardwareWalk(0, mapped, .kernel) == nil)
            #expect(guest.machine.access(0, mapped, .write).1 == 30)
            guest.machine.check()
        }
    }

    @Suite struct GuestCopies {
        @Test("copies cross pages, obey rights, set dirty, and unsync tables that they hit")
        func copies() {
            let guest = SmallGuest()
            guest.map(SmallGuest.low, 30)
            guest.map(SmallGuest.low + 4096, 31)
            guest.map(SmallGuest.low + 8192, 32, bits: 0x5)
            guest.map(SmallGuest.high, guest.leafSlot(SmallGuest.low).table)
            guest.start()
            let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
            defer { buffer.deallocate() }
            for index in 0..<4096 {
                buffer.storeBytes(
                    of: UInt8(truncatingIfNeeded: index * 7), toByteOffset: index, as: UInt8.self)
            }
            let core = UInt(bitPattern: buffer)
            let machine = guest.machine
            func out(_ address: UInt64, _ count: UInt, _ mode: GuestMode) -> MemoryStatus {
                machine.run { $0.copyOut(to: GuestVirtual(address), from: core, count: count, mode: mode) }
            }
            #expect(out(SmallGuest.low + 4000, 200, .user) == .done)
            #expect(ccore_load8(Windows.ram + 30 * 4096 + 4095) == UInt8(truncatingIfNeeded: 95 * 7))
            #expect(ccore_load8(Windows.ram + 31 * 4096) == UInt8(truncatingIfNeeded: 96 * 7))
            #expect(machine.entry(guest.leafSlot(SmallGuest.low).table, 1) & 0x60 == 0x60)
            #expect(out(SmallGuest.low + 8192, 8, .user) == .guestFault(.present.union(.write).union(.user)))
            #expect(out(SmallGuest.low + 12000, 4096, .user) != .done)
            #expect(out(UInt64(PENUMBRA_CORE_BASE), 8, .kernel) == .guestFault(.write))
            #expect(out(0x7fff_ffff_ffff, 8, .kernel) != .done)
            _ = machine.access(0, SmallGuest.low, .read, .user)
            buffer.storeBytes(of: 31 << 12 | 0x67, as: UInt64.self)
            #expect(out(SmallGuest.high, 8, .kernel) == .done)
            machine.check()
            guest.flush()
            #expect(machine.access(0, SmallGuest.low, .read, .user).1 == 31)
            machine.check()
        }
    }
}
