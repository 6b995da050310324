// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Small objects in pool pages that no processor walks: nodes of reverse lists (32 bytes)
// and origins of shadow pages (2 KiB). Objects are zero when free. A page whose last object
// goes returns to the pool at once: no TLB ever referred to it.

import CCore
import CPenumbra

enum SlabKind {
    case nodes
    case origins

    @inline(__always) var objectSize: UInt {
        switch self {
        case .nodes: 32
        case .origins: 2048
        }
    }

    @inline(__always) var objectsPerPage: UInt16 {
        switch self {
        case .nodes: 128
        case .origins: 2
        }
    }

    @inline(__always) var pageKind: PageKind {
        switch self {
        case .nodes: .nodes
        case .origins: .origins
        }
    }
}

/// Objects are named by one number: pool page, then 7 bits of place in it.
enum Slab {
    @inline(__always)
    static func address(of object: UInt32, kind: SlabKind) -> UInt {
        Pool.window(object >> 7) &+ UInt(object & 127) &* kind.objectSize
    }

    /// A zeroed object. The operation has reserved the page that this may need.
    static func allocate(_ kind: SlabKind) -> UInt32 {
        if partial(kind) == 0 {
            let page = Pool.take()
            descriptorPointer(page).pointee.kind = kind.pageKind
            link(page, kind)
        }
        let page = partial(kind)
        let descriptor = descriptorPointer(page)
        let place = firstFree(descriptor)
        descriptor.pointee.occupancy[place >> 6] |= 1 << UInt64(place & 63)
        descriptor.pointee.live += 1
        if descriptor.pointee.live == kind.objectsPerPage { unlink(page, kind) }
        return page << 7 | UInt32(place)
    }

    /// Gives back an object that its user has left zeroed.
    static func free(_ object: UInt32, kind: SlabKind) {
        let page = object >> 7
        let place = Int(object & 127)
        let descriptor = descriptorPointer(page)
        if descriptor.pointee.live == kind.objectsPerPage { link(page, kind) }
        descriptor.pointee.occupancy[place >> 6] &= ~(1 << UInt64(place & 63))
        descriptor.pointee.live -= 1
        if descriptor.pointee.live == 0 {
            unlink(page, kind)
            Pool.release(page)
        }
    }

    /// A page on a partial list has a free place, so the search ends within its objects.
    @inline(__always)
    private static func firstFree(_ descriptor: DescriptorPointer) -> Int {
        let low = ~descriptor.pointee.occupancy[0]
        if low != 0 { return low.trailingZeroBitCount }
        return 64 + (~descriptor.pointee.occupancy[1]).trailingZeroBitCount
    }

    private static func partial(_ kind: SlabKind) -> UInt32 {
        switch kind {
        case .nodes: state.pointee.partialNodes
        case .origins: state.pointee.partialOrigins
        }
    }

    private static func setPartial(_ kind: SlabKind, _ page: UInt32) {
        switch kind {
        case .nodes: state.pointee.partialNodes = page
        case .origins: state.pointee.partialOrigins = page
        }
    }

    private static func link(_ page: UInt32, _ kind: SlabKind) {
        let head = partial(kind)
        descriptorPointer(page).pointee.next = head
        descriptorPointer(page).pointee.previous = 0
        if head != 0 { descriptorPointer(head).pointee.previous = page }
        setPartial(kind, page)
    }

    private static func unlink(_ page: UInt32, _ kind: SlabKind) {
        let next = descriptorPointer(page).pointee.next
        let previous = descriptorPointer(page).pointee.previous
        if next != 0 { descriptorPointer(next).pointee.previous = previous }
        if previous != 0 {
            descriptorPointer(previous).pointee.next = next
        } else {
            setPartial(kind, next)
        }
        descriptorPointer(page).pointee.next = 0
        descriptorPointer(page).pointee.previous = 0
    }
}
