// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Entries of paging structures (Intel SDM vol. 3, 4.5, tables 4-15 to 4-20). Guest and
// shadow entries share the format and are nonetheless two types: the first holds guest
// frame numbers that the guest chose, the second host-physical addresses that it must
// never see.

enum EntryBits {
    static var present: UInt64 { 1 << 0 }
    static var writable: UInt64 { 1 << 1 }
    static var user: UInt64 { 1 << 2 }
    static var accessed: UInt64 { 1 << 5 }
    static var dirty: UInt64 { 1 << 6 }
    /// Level 2 and 3: a large page. Reserved at level 4. At level 1 this is the PAT bit.
    static var pageSize: UInt64 { 1 << 7 }
    static var noExecute: UInt64 { 1 << 63 }
    /// Bits 51:12.
    static var address: UInt64 { 0x000f_ffff_ffff_f000 }
}

/// An entry that a guest wrote: untrusted, and free to change under our eyes.
public struct GuestEntry: Equatable {
    public let value: UInt64

    @inline(__always) public init(_ value: UInt64) { self.value = value }

    @inline(__always) public var isPresent: Bool { value & EntryBits.present != 0 }
    @inline(__always) public var isWritable: Bool { value & EntryBits.writable != 0 }
    @inline(__always) public var isUser: Bool { value & EntryBits.user != 0 }
    @inline(__always) public var isAccessed: Bool { value & EntryBits.accessed != 0 }
    @inline(__always) public var isDirty: Bool { value & EntryBits.dirty != 0 }
    @inline(__always) public var hasPageSize: Bool { value & EntryBits.pageSize != 0 }
    @inline(__always) public var isNoExecute: Bool { value & EntryBits.noExecute != 0 }

    /// The frame's number as written: 40 bits, to be checked against the VM.
    @inline(__always) public var frameNumber: UInt64 { (value & EntryBits.address) >> 12 }

    static var accessedDirty: UInt64 { EntryBits.accessed | EntryBits.dirty }
}

/// An entry that the processor walks while a guest runs.
///
/// U/S is always user, since guest kernel and guest user both run at CPL 3; G is always 0
/// (guests use the host's own kernel addresses, see DESIGN 2); accessed and dirty are set
/// from the start, so that the processor never writes to a shadow page.
public struct ShadowEntry: Equatable {
    public let value: UInt64

    @inline(__always) public init(_ value: UInt64) { self.value = value }
    @inline(__always) static var empty: ShadowEntry { ShadowEntry(0) }

    /// A mapping of `page` (a leaf) or a link to it (a table).
    @inline(__always)
    init(_ page: HostPhysical, writable: Bool, noExecute: UInt64) {
        let fixed = EntryBits.present | EntryBits.user | EntryBits.accessed | EntryBits.dirty
        value = page.value | fixed | (writable ? EntryBits.writable : 0) | noExecute
    }

    @inline(__always) public var isPresent: Bool { value & EntryBits.present != 0 }
    @inline(__always) public var isWritable: Bool { value & EntryBits.writable != 0 }
    @inline(__always) public var isUser: Bool { value & EntryBits.user != 0 }
    @inline(__always) public var isNoExecute: Bool { value & EntryBits.noExecute != 0 }
    @inline(__always) public var page: HostPhysical { HostPhysical(value & EntryBits.address) }

    @inline(__always) var readOnly: ShadowEntry { ShadowEntry(value & ~EntryBits.writable) }
    @inline(__always) var madeWritable: ShadowEntry { ShadowEntry(value | EntryBits.writable) }
}
