// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Reverse lists: from a guest frame to the shadow leaves that map it, and from a shadow
// page to the entries that link it. Two entries are kept in the list itself, as most frames
// are mapped by their user and by their kernel; three and more lie in nodes of seven, of
// which only the first may be partly filled. So adding is constant, removing is linear in the
// list, and the bound on lists (Bounds.listEntries) bounds both. What was added together is
// mostly removed together: the node that an entry was found in comes second from then on.
//
//   entry, entry or 0                    one or two
//   head ─► node ─► node ─► node         more;  node: next, 7 entries

import CCore
import CPenumbra

/// A slot of a shadow page, as one number: never 0, since pool page 0 is never used.
struct EntryReference: Equatable {
    let value: UInt32

    @inline(__always) init(value: UInt32) { self.value = value }
    @inline(__always) init(_ page: ShadowPage, _ slot: Int) {
        value = page.index << 9 | UInt32(truncatingIfNeeded: slot)
    }

    @inline(__always) var page: ShadowPage { ShadowPage(value >> 9) }
    @inline(__always) var slot: Int { Int(value & 511) }
}

struct EntryList {
    /// 0: empty. Bit 31 clear: an entry. Bit 31 set: the first node.
    fileprivate(set) var head: UInt32
    /// Behind an entry the second one, or 0; behind a node how many there are in all.
    fileprivate(set) var rest: UInt32

    @inline(__always) fileprivate var hasNodes: Bool { head & ListNode.tag != 0 }

    @inline(__always) var count: UInt32 {
        if hasNodes { return rest }
        return head == 0 ? 0 : rest == 0 ? 1 : 2
    }
}

/// A node of a reverse list: 32 bytes of a slab page.
struct ListNode {
    let object: UInt32
    private let address: UInt

    static var capacity: UInt32 { 7 }
    @inline(__always) static var tag: UInt32 { 1 << 31 }

    @inline(__always) init(_ object: UInt32) {
        self.object = object
        address = Slab.address(of: object, kind: .nodes)
    }

    @inline(__always) var next: UInt32 {
        get { ccore_load32(address) }
        nonmutating set { ccore_store32(address, newValue) }
    }

    @inline(__always) subscript(index: UInt32) -> UInt32 {
        get { ccore_load32(address &+ 4 &+ UInt(index) &* 4) }
        nonmutating set { ccore_store32(address &+ 4 &+ UInt(index) &* 4, newValue) }
    }
}

extension EntryListPointer {
    @inline(__always) private var hasNodes: Bool { pointee.hasNodes }

    @inline(__always) private var firstNode: ListNode { ListNode(pointee.head & ~ListNode.tag) }

    /// How many entries the first node holds; the others are full.
    @inline(__always) private var fillOfFirstNode: UInt32 {
        (pointee.rest - 1) % ListNode.capacity + 1
    }

    /// Adds an entry that is not in the list. Takes at most one slab object.
    @inline(__always)
    func add(_ entry: EntryReference) {
        if pointee.head == 0 {
            pointee.head = entry.value
        } else if !hasNodes && pointee.rest == 0 {
            pointee.rest = entry.value
        } else {
            addToNode(entry)
        }
    }

    @inline(never)
    private func addToNode(_ entry: EntryReference) {
        if !hasNodes {
            let node = ListNode(Slab.allocate(.nodes))
            node[0] = pointee.head
            node[1] = pointee.rest
            pointee.head = node.object | ListNode.tag
            pointee.rest = 2
        }
        if pointee.rest % ListNode.capacity == 0 {
            let node = ListNode(Slab.allocate(.nodes))
            node.next = pointee.head
            pointee.head = node.object | ListNode.tag
        }
        firstNode[pointee.rest % ListNode.capacity] = entry.value
        pointee.rest += 1
    }

    /// Removes an entry that is in the list.
    @inline(__always)
    func remove(_ entry: EntryReference) {
        if hasNodes { return removeFromNode(entry) }
        if pointee.head == entry.value {
            pointee.head = pointee.rest
        } else {
            precondition(pointee.rest == entry.value)
        }
        pointee.rest = 0
    }

    @inline(never)
    private func removeFromNode(_ entry: EntryReference) {
        let first = firstNode
        let last = fillOfFirstNode - 1
        let (node, index) = find(entry, first, last + 1)
        node[index] = first[last]
        first[last] = 0
        pointee.rest -= 1
        if last == 0 {
            pointee.head = first.next
            first.next = 0
            Slab.free(first.object, kind: .nodes)
        }
        // Not at two already: a third mapping that comes and goes would take and free a node each time.
        if pointee.rest == 1 { becomeInline() }
    }

    /// Its node, from now on the first or the second, and its place there.
    @inline(__always)
    private func find(_ entry: EntryReference, _ first: ListNode, _ fill: UInt32) -> (ListNode, UInt32) {
        if let index = first.index(of: entry, fill: fill) { return (first, index) }
        var before = first
        while true {
            precondition(before.next != 0)
            let node = ListNode(before.next & ~ListNode.tag)
            if let index = node.index(of: entry, fill: ListNode.capacity) {
                if before.object != first.object {
                    before.next = node.next
                    node.next = first.next
                    first.next = node.object | ListNode.tag
                }
                return (node, index)
            }
            before = node
        }
    }

    private func becomeInline() {
        let node = firstNode
        pointee.head = node[0]
        pointee.rest = 0
        node[0] = 0
        Slab.free(node.object, kind: .nodes)
    }

    /// Some entry; the list must not be empty.
    var any: EntryReference {
        guard hasNodes else { return EntryReference(value: pointee.head) }
        return EntryReference(value: firstNode[fillOfFirstNode - 1])
    }

    /// An entry of the last node, hence among the oldest that nothing was removed beside; the list must
    /// not be empty.
    var oldest: EntryReference {
        guard hasNodes else { return EntryReference(value: pointee.head) }
        var node = firstNode
        while node.next != 0 { node = ListNode(node.next & ~ListNode.tag) }
        return EntryReference(value: node[0])
    }

    /// Calls `body` for each entry; it must not change the list.
    @inline(__always)
    func forEach(_ body: (EntryReference) -> Void) {
        guard hasNodes else {
            if pointee.head != 0 { body(EntryReference(value: pointee.head)) }
            if pointee.rest != 0 { body(EntryReference(value: pointee.rest)) }
            return
        }
        var node = firstNode
        var fill = fillOfFirstNode
        while true {
            var index: UInt32 = 0
            while index < fill {
                body(EntryReference(value: node[index]))
                index += 1
            }
            if node.next == 0 { return }
            node = ListNode(node.next & ~ListNode.tag)
            fill = ListNode.capacity
        }
    }
}

extension ListNode {
    @inline(__always)
    fileprivate func index(of entry: EntryReference, fill: UInt32) -> UInt32? {
        var index: UInt32 = 0
        while index < fill {
            if self[index] == entry.value { return index }
            index += 1
        }
        return nil
    }
}
