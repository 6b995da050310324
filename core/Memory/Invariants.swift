// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The checker: what must hold between any two operations. It shares f (Derive.swift) and
// the layouts with what it checks, and nothing else: it believes no list without walking it
// and no page without reading it. Debug cores run it after every operation on request.

#if PENUMBRA_DEBUG || !hasFeature(Embedded)
    import CCore
    import CPenumbra

    /// What can be broken, in the order of checking. The numbers reach crash reports.
    public enum Invariant: UInt64 {
        /// A leaf maps exactly the page behind a present frame of this VM.
        case leafMapsItsFrame = 1
        /// Entries have the bits of ShadowEntry and no other.
        case entryFormat = 2
        /// A synced table's leaf allows no more than f(guest entry).
        case leafWithinGuestRights = 3
        /// No writable leaf for a read-only frame.
        case readOnlyFrameNotWritable = 4
        /// A link leads to the shadow page that it says, one level down.
        case linkLeadsToChild = 5
        /// A synced table's link allows no more than the guest's entry.
        case linkWithinGuestRights = 6
        /// User views link user views; kernel views link kernel views but for lower root slots.
        case viewsNest = 7
        /// Entry 261 of roots is the core's.
        case coreSlot = 8
        /// Slots 257 to 271 of roots are otherwise empty.
        case holeEmpty = 9
        /// Occupancy bits, count and origins equal the contents; what is not present is zero (L1TF).
        case occupancy = 10
        /// Each leaf is in its frame's list of mappings, and each link in its child's parents.
        case reverseMapComplete = 11
        /// Each entry of a reverse list refers to a slot that refers back.
        case reverseMapTrue = 12
        /// No writable mapping of a watched frame.
        case watchedNotWritable = 13
        /// Each shadow is in its frame's list once, and each list holds that frame's shadows.
        case shadowLists = 14
        /// Free and quarantined pages are zero and refer to nothing.
        case freePagesZero = 15
        /// The free list, the quarantine and their counts agree.
        case poolCounts = 16
        /// No page is free while a vCPU in the world has not flushed since it was in use.
        case quarantineKept = 17
        /// Unsync list and frame flags agree.
        case unsyncList = 18
        /// Current roots are roots, of the right view, and counted.
        case roots = 19
        /// A companion leads to its root, twice, and nowhere else.
        case companions = 20
    }

    public struct InvariantViolation: Equatable {
        public let invariant: Invariant
        /// Pool page, guest frame or vCPU, whichever the invariant is about; and the slot.
        public let subject: UInt32
        public let slot: UInt32
        /// What stands there.
        public let value: UInt64
    }

    extension ShadowMemory {
        /// The first broken invariant, if any.
        public func check() -> InvariantViolation? {
            locked {
                var checker = Checker(memory: self)
                checker.run()
                return checker.violation
            }
        }
    }

    struct Checker {
        let memory: ShadowMemory
        var violation: InvariantViolation?

        init(memory: ShadowMemory) { self.memory = memory }

        mutating func run() {
            var free: UInt32 = 0
            var quarantined: UInt32 = 0
            var droppable: UInt32 = 0
            var index: UInt32 = 1
            while index <= state.pointee.usedPages && violation == nil {
                switch descriptorPointer(index).pointee.kind {
                case .free:
                    free += 1
                    freePage(index)
                case .quarantined:
                    quarantined += 1
                    freePage(index)
                case .shadow:
                    if descriptorPointer(index).pointee.rootUses == 0 { droppable += 1 }
                    shadow(ShadowPage(index))
                case .companion: companion(index)
                case .nodes, .origins: break
                }
                index += 1
            }
            if free != state.pointee.freeCount || droppable != state.pointee.droppablePages
                || quarantined != state.pointee.quarantineCount
            {
                fail(.poolCounts, 0, 0, UInt64(free))
            }
            lists()
            frames()
            roots()
        }

        private mutating func fail(_ invariant: Invariant, _ subject: UInt32, _ slot: Int, _ value: UInt64) {
            guard violation == nil else { return }
            violation = InvariantViolation(
                invariant: invariant, subject: subject, slot: UInt32(truncatingIfNeeded: slot), value: value)
        }

        // MARK: - Shadow pages

        private mutating func shadow(_ page: ShadowPage) {
            let isRoot = page.level == Level.four.rawValue
            var live: UInt16 = 0
            var slot = 0
            while slot < 512 {
                let entry = page[slot]
                let occupied = page.isOccupied(slot)
                if isRoot && TopSlot.isInHole(slot) {
                    hole(page, slot, entry, occupied)
                } else {
                    let hasOrigin = page.origin(slot) != 0 || page.level == Level.one.rawValue && occupied
                    if occupied != entry.isPresent || occupied != hasOrigin || !occupied && entry.value != 0 {
                        fail(.occupancy, page.index, slot, entry.value)
                    }
                    if occupied && violation == nil { self.entry(page, slot, entry) }
                }
                if occupied { live += 1 }
                slot += 1
            }
            if live != page.descriptor.pointee.live { fail(.occupancy, page.index, 512, UInt64(live)) }
            guard violation == nil else { return }
            parents(page)
            if !isInListOfItsFrame(page) { fail(.shadowLists, page.index, 0, UInt64(page.frame.value)) }
        }

        private mutating func hole(_ page: ShadowPage, _ slot: Int, _ entry: ShadowEntry, _ occupied: Bool) {
            if slot == Int(PENUMBRA_SLOT) {
                if entry.value != vmPage.pointee.slot_guest { fail(.coreSlot, page.index, slot, entry.value) }
            } else if entry.value != 0 {
                fail(.holeEmpty, page.index, slot, entry.value)
            }
            if occupied { fail(.holeEmpty, page.index, slot, entry.value) }
        }

        private mutating func entry(_ page: ShadowPage, _ slot: Int, _ entry: ShadowEntry) {
            let noExecute = entry.isNoExecute ? EntryBits.noExecute : 0
            if entry != ShadowEntry(entry.page, writable: entry.isWritable, noExecute: noExecute) {
                fail(.entryFormat, page.index, slot, entry.value)
            }
            if page.level == Level.one.rawValue {
                leaf(page, slot, entry)
            } else {
                link(page, slot, entry)
            }
        }

        private mutating func leaf(_ page: ShadowPage, _ slot: Int, _ entry: ShadowEntry) {
            guard let frame = memory.frame(numbered: UInt64(page.origin(slot))),
                memory.tableEntry(of: frame).isPresent, memory.tableEntry(of: frame).page == entry.page
            else { return fail(.leafMapsItsFrame, page.index, slot, entry.value) }
            let info = frameInfoPointer(frame)
            if entry.isWritable && memory.tableEntry(of: frame).isReadOnly {
                fail(.readOnlyFrameNotWritable, page.index, slot, entry.value)
            }
            if entry.isWritable && info.pointee.forbidsWriting {
                fail(.watchedNotWritable, page.index, slot, entry.value)
            }
            if !contains(info.mappings, EntryReference(page, slot)) {
                fail(.reverseMapComplete, page.index, slot, entry.value)
            }
            guard isSynced(page) else { return }
            let allowed = memory.deriveLeaf(memory.guestEntry(page.frame, slot), page.view)
            // The one exception: write access lent to a guest that writes its tables.
            let lent = entry.isWritable && info.pointee.has(.open) && page.view == .kernel
            let wanted = lent ? entry.readOnly : entry
            if !allowed.isPresent || allowed.page != entry.page || exceeds(wanted, allowed) {
                fail(.leafWithinGuestRights, page.index, slot, entry.value)
            }
        }

        private mutating func link(_ page: ShadowPage, _ slot: Int, _ entry: ShadowEntry) {
            let child = ShadowPage(page.origin(slot))
            guard child.index <= state.pointee.usedPages, child.descriptor.pointee.kind == .shadow,
                child.level == page.level - 1, child.hostAddress == entry.page
            else { return fail(.linkLeadsToChild, page.index, slot, entry.value) }
            let mayCross = page.level == Level.four.rawValue && slot < TopSlot.kernelHalf
            if child.view != page.view && !(mayCross && page.view == .kernel) {
                fail(.viewsNest, page.index, slot, entry.value)
            }
            if !contains(child.descriptor.parents, EntryReference(page, slot)) {
                fail(.reverseMapComplete, page.index, slot, entry.value)
            }
            guard isSynced(page) else { return }
            let guest = memory.guestEntry(page.frame, slot)
            guard let allowed = memory.deriveLink(guest, to: child, in: page), !exceeds(entry, allowed)
            else { return fail(.linkWithinGuestRights, page.index, slot, entry.value) }
        }

        private func isSynced(_ page: ShadowPage) -> Bool {
            !frameInfoPointer(page.frame).pointee.has(.listed)
        }

        private func exceeds(_ entry: ShadowEntry, _ allowed: ShadowEntry) -> Bool {
            entry.isWritable && !allowed.isWritable || !entry.isNoExecute && allowed.isNoExecute
        }

        private mutating func parents(_ page: ShadowPage) {
            var found = true
            page.descriptor.parents.forEach { reference in
                let parent = reference.page
                let refersBack =
                    isShadow(parent) && parent.isOccupied(reference.slot)
                    && parent.level == page.level + 1 && parent.origin(reference.slot) == page.index
                if !refersBack { found = false }
            }
            if !found || countEntries(page.descriptor.parents) != page.descriptor.pointee.parents.count {
                fail(.reverseMapTrue, page.index, 0, UInt64(page.descriptor.pointee.parents.count))
            }
        }

        private func isShadow(_ page: ShadowPage) -> Bool {
            page.index != 0 && page.index <= state.pointee.usedPages
                && page.descriptor.pointee.kind == .shadow
        }

        private func contains(_ list: EntryListPointer, _ entry: EntryReference) -> Bool {
            var times = 0
            list.forEach { if $0 == entry { times += 1 } }
            return times == 1
        }

        private func countEntries(_ list: EntryListPointer) -> UInt32 {
            var count: UInt32 = 0
            list.forEach { _ in count += 1 }
            return count
        }

        private func isInListOfItsFrame(_ page: ShadowPage) -> Bool {
            var index = frameInfoPointer(page.frame).pointee.firstShadow
            var times = 0
            var steps = 0
            while index != 0 && steps < 9 {
                if index == page.index { times += 1 }
                index = descriptorPointer(index).pointee.nextOfFrame
                steps += 1
            }
            return times == 1 && index == 0
        }

        // MARK: - Frames

        private mutating func frames() {
            var number: UInt32 = 0
            while number < vmPage.pointee.total_frames && violation == nil {
                let frame = GuestFrame(number)
                if memory.tableEntry(of: frame).isPresent { self.frame(frame) }
                number += 1
            }
        }

        private mutating func frame(_ frame: GuestFrame) {
            let info = frameInfoPointer(frame)
            var refersBack = true
            info.mappings.forEach { reference in
                let page = reference.page
                let maps =
                    isShadow(page) && page.level == Level.one.rawValue
                    && page.isOccupied(reference.slot) && page.origin(reference.slot) == frame.value
                if !maps { refersBack = false }
            }
            if !refersBack || countEntries(info.mappings) != info.pointee.mappings.count {
                fail(.reverseMapTrue, frame.value, 0, UInt64(info.pointee.mappings.count))
            }
            var index = info.pointee.firstShadow
            var steps = 0
            while index != 0 && violation == nil {
                let page = ShadowPage(index)
                steps += 1
                guard isShadow(page), page.frame == frame, steps <= 8 else {
                    return fail(.shadowLists, frame.value, 0, UInt64(index))
                }
                index = page.descriptor.pointee.nextOfFrame
            }
            if info.pointee.has(.listed) != isListed(frame) || info.pointee.has(.open) && !isListed(frame) {
                fail(.unsyncList, frame.value, 0, UInt64(info.pointee.shadowAndFlags))
            }
        }

        private func isListed(_ frame: GuestFrame) -> Bool {
            var times = 0
            var index = 0
            while index < Int(state.pointee.unsyncCount) {
                if state.pointee.unsync[index].frame == frame.value { times += 1 }
                index += 1
            }
            return times == 1
        }

        // MARK: - Pool

        private mutating func freePage(_ index: UInt32) {
            let descriptor = descriptorPointer(index)
            var slot = 0
            while slot < 512 {
                let word = ccore_load64(Pool.window(index) &+ UInt(slot) &* 8)
                if word != 0 { return fail(.freePagesZero, index, slot, word) }
                slot += 1
            }
            if descriptor.pointee.live != 0 || descriptor.pointee.parents.count != 0
                || descriptor.pointee.origins != 0 || descriptor.pointee.companion != 0
                || descriptor.pointee.rootUses != 0 || descriptor.pointee.nextOfFrame != 0
            {
                fail(.freePagesZero, index, 512, UInt64(descriptor.pointee.live))
            }
            // Of several vCPUs one may have been away when the page was freed, and be back.
            let isFree = descriptor.pointee.kind == .free && recordsAllFlushes
            if isFree && descriptor.pointee.stamp != 0
                && descriptor.pointee.stamp >= memory.flushedByAll()
            {
                fail(.quarantineKept, index, 0, descriptor.pointee.stamp)
            }
        }

        private mutating func lists() {
            guard violation == nil else { return }
            let free = length(from: state.pointee.freeHead, kind: .free)
            let waiting = length(from: state.pointee.quarantineHead, kind: .quarantined)
            if free != state.pointee.freeCount || waiting != state.pointee.quarantineCount {
                fail(.poolCounts, 1, 0, UInt64(free))
            }
            if state.pointee.unsyncCount > Bounds.unsyncFrames {
                fail(.unsyncList, 0, 0, UInt64(state.pointee.unsyncCount))
            }
        }

        /// Length of a list through `next`, as far as its pages are of that kind.
        private func length(from head: UInt32, kind: PageKind) -> UInt32 {
            var index = head
            var count: UInt32 = 0
            while index != 0 && index <= state.pointee.usedPages && count <= state.pointee.usedPages {
                guard descriptorPointer(index).pointee.kind == kind else { return UInt32.max }
                count += 1
                index = descriptorPointer(index).pointee.next
            }
            return count
        }

        // MARK: - Roots

        private mutating func roots() {
            var uses: UInt64 = 0
            var id: UInt32 = 0
            while id < UInt32(PENUMBRA_MAX_VCPUS) && violation == nil {
                let record = record(of: id)
                uses += root(record.pointee.kernelRoot, .kernel, id)
                uses += root(record.pointee.userRoot, .user, id)
                id += 1
            }
            var counted: UInt64 = 0
            var index: UInt32 = 1
            while index <= state.pointee.usedPages {
                counted += UInt64(descriptorPointer(index).pointee.rootUses)
                index += 1
            }
            if uses != counted { fail(.roots, 0, 0, counted) }
        }

        private mutating func root(_ index: UInt32, _ view: View, _ vcpu: UInt32) -> UInt64 {
            guard index != 0 else { return 0 }
            let page = ShadowPage(index)
            if !isShadow(page) || page.level != Level.four.rawValue || page.view != view
                || page.descriptor.pointee.rootUses == 0
            {
                fail(.roots, vcpu, 0, UInt64(index))
            }
            return 1
        }

        private mutating func companion(_ index: UInt32) {
            let root = ShadowPage(descriptorPointer(index).pointee.companion)
            guard isShadow(root), root.descriptor.pointee.companion == index else {
                return fail(.companions, index, 0, UInt64(root.index))
            }
            let link = ShadowEntry(root.hostAddress, writable: true, noExecute: 0)
            var slot = 0
            while slot < 512 {
                let expected = slot == 0 || slot == 511 ? link : .empty
                if ShadowPage(index)[slot] != expected {
                    fail(.companions, index, slot, ShadowPage(index)[slot].value)
                }
                slot += 1
            }
        }
    }
#endif
