// SPDX-License-Identifier: Apache-2.0
//
// Each invariant of the checker is broken once, by hand, and must be the one that fires.

import CCore
import CPenumbra
import Testing

@testable import PenumbraCore

extension MemoryTests {
    @Suite struct Invariants {
        let guest: SmallGuest
        let page: ShadowPage
        let slot = 0

        /// A user page (frame 30), a kernel page (frame 31), all pages in order.
        init() {
            guest = SmallGuest(vcpus: 2, flags: UInt32(PENUMBRA_VM_LA57))
            guest.map(SmallGuest.low, 30)
            guest.map(SmallGuest.low + 4096, 32, bits: 0x8000_0000_0000_0005)
            guest.map(SmallGuest.high, 31, bits: 0x3)
            guest.start()
            _ = guest.machine.access(0, SmallGuest.low, .write, .user)
            _ = guest.machine.access(0, SmallGuest.low + 4096, .read, .user)
            _ = guest.machine.access(0, SmallGuest.high, .write, .kernel)
            let table = guest.leafSlot(SmallGuest.low).table
            page = ShadowPage(frameInfoPointer(GuestFrame(UInt32(table))).pointee.firstShadow)
        }

        func shadow(_ level: Int, _ view: View, _ address: UInt64 = SmallGuest.low) -> ShadowPage {
            let table = GuestFrame(UInt32(guest.machine.table(address, root: 1, level: level)))
            return guest.machine.memory().find(table, Level(rawValue: UInt8(level))!, view)!
        }

        func expect(_ invariant: Invariant, sourceLocation: SourceLocation = #_sourceLocation) {
            #expect(guest.machine.memory().check()?.invariant == invariant, sourceLocation: sourceLocation)
        }

        @Test("nothing fires unprovoked") func sound() { guest.machine.check() }

        @Test("a leaf that maps another page") func leafMapsItsFrame() {
            page[slot] = ShadowEntry(page[slot].value + 4096)
            expect(.leafMapsItsFrame)
        }
        @Test("a leaf of a frame that went") func leafOfAbsentFrame() {
            guest.machine.setPresent(30, false)
            expect(.leafMapsItsFrame)
        }
        @Test("a leaf that maps a pool page") func leafMapsPool() {
            page[slot] = ShadowEntry(FakeMachine.poolBase | page[slot].value & 0xfff)
            expect(.leafMapsItsFrame)
        }
        @Test("a global leaf") func entryFormat() {
            page[slot] = ShadowEntry(page[slot].value | 1 << 8)
            expect(.entryFormat)
        }
        @Test("a writable leaf of a read-only entry") func leafWritable() {
            page[1] = ShadowEntry(page[1].value | 2)
            expect(.leafWithinGuestRights)
        }
        @Test("an executable leaf of a no-execute entry") func leafExecutable() {
            page[1] = ShadowEntry(page[1].value & ~(1 << 63))
            expect(.leafWithinGuestRights)
        }
        @Test("a leaf in the user view without U") func leafUser() {
            let (table, slot) = guest.leafSlot(SmallGuest.low)
            guest.machine.setEntry(table, slot, guest.machine.entry(table, slot) & ~4)
            expect(.leafWithinGuestRights)
        }
        @Test("a writable leaf of a read-only frame") func readOnlyFrame() {
            guest.machine.setPresent(30, true, readOnly: true)
            expect(.readOnlyFrameNotWritable)
        }
        @Test("a link to another pool page") func linkLeadsToChild() {
            let two = shadow(2, .user)
            two[2] = ShadowEntry(two[2].value + 4096)
            expect(.linkLeadsToChild)
        }
        @Test("a writable link of a read-only entry") func linkRights() {
            let two = guest.machine.table(SmallGuest.low, root: 1, level: 2)
            guest.machine.setEntry(two, 2, guest.machine.entry(two, 2) & ~2)
            expect(.linkWithinGuestRights)
        }
        @Test("a user view that links a kernel view") func viewsNest() {
            shadow(1, .user).descriptor.pointee.view = .kernel
            expect(.viewsNest)
        }
        @Test("another entry 261") func coreSlot() {
            shadow(4, .user)[Int(PENUMBRA_SLOT)] = ShadowEntry(FakeMachine.slotGuest + 4096)
            expect(.coreSlot)
        }
        @Test("an entry in the hole") func holeEmpty() {
            shadow(4, .kernel)[257] = ShadowEntry(1)
            expect(.holeEmpty)
        }
        @Test("an entry without its occupancy bit") func occupancy() {
            page.descriptor.pointee.occupancy[0] &= ~1
            expect(.occupancy)
        }
        @Test("an address in an entry that is not present, as L1TF reads it") func absentAddress() {
            page[slot] = ShadowEntry(page[slot].value & ~1)
            page.descriptor.pointee.occupancy[slot / 64] &= ~(1 << UInt64(slot % 64))
            page.descriptor.pointee.live -= 1
            expect(.occupancy)
        }
        @Test("a wrong count of entries") func liveCount() {
            page.descriptor.pointee.live += 1
            expect(.occupancy)
        }
        @Test("a leaf that is in no reverse list") func mappingMissing() {
            frameInfoPointer(GuestFrame(30)).mappings.remove(EntryReference(page, slot))
            expect(.reverseMapComplete)
        }
        @Test("a link that is in no list of parents") func parentMissing() {
            let two = shadow(2, .user)
            page.descriptor.parents.remove(EntryReference(two, 2))
            expect(.reverseMapComplete)
        }
        @Test("a reverse list that names an empty slot") func mappingFalse() {
            frameInfoPointer(GuestFrame(30)).mappings.add(EntryReference(page, 77))
            expect(.reverseMapTrue)
        }
        @Test("parents that name an empty slot") func parentFalse() {
            page.descriptor.parents.add(EntryReference(shadow(2, .user), 77))
            expect(.reverseMapTrue)
        }
        @Test("a writable mapping of a watched table") func watched() {
            frameInfoPointer(GuestFrame(30)).pointee.firstShadow = page.index
            expect(.watchedNotWritable)
        }
        @Test("a shadow that its frame does not know") func shadowLists() {
            frameInfoPointer(page.frame).pointee.firstShadow = 0
            expect(.shadowLists)
        }
        @Test("a free page with a word in it") func freePage() {
            drop()
            guest.machine.settle(0)
            guest.machine.settle(1)
            Pool.drainQuarantine(flushedByAll: guest.machine.memory().flushedByAll())
            guest.machine.check()
            ShadowPage(state.pointee.freeHead)[9] = ShadowEntry(1)
            expect(.freePagesZero)
        }
        @Test("a quarantined page with a word in it") func quarantinedPage() {
            drop()
            ShadowPage(state.pointee.quarantineHead)[9] = ShadowEntry(1)
            expect(.freePagesZero)
        }
        @Test("a count of free pages that is off") func poolCounts() {
            state.pointee.freeCount += 1
            expect(.poolCounts)
        }
        @Test("a page that leaves quarantine early") func quarantineKept() {
            drop()
            Pool.drainQuarantine(flushedByAll: .max)
            expect(.quarantineKept)
        }
        @Test("a frame flagged as listed that is not") func unsyncList() {
            frameInfoPointer(GuestFrame(40)).pointee.set(.listed, true)
            expect(.unsyncList)
        }
        @Test("a root of the wrong view") func rootView() {
            swap(&record(of: 1).pointee.kernelRoot, &record(of: 1).pointee.userRoot)
            expect(.roots)
        }
        @Test("a root that counts one use too many") func rootUses() {
            shadow(4, .user).descriptor.pointee.rootUses += 1
            expect(.roots)
        }
        @Test("a companion that leads elsewhere") func companion() {
            let companion = ShadowPage(shadow(4, .user).descriptor.pointee.companion)
            companion[5] = companion[0]
            expect(.companions)
        }

        private func drop() {
            guest.machine.memory().dropShadows(of: page.frame)
        }
    }
}
