// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The address spaces that meet in the core, each a type of its own: a function that takes
// one cannot be given another. Conversions exist where hardware or a table defines them,
// and nowhere else.

/// A linear address as a guest uses it, of 48 bits and sign-extended.
public struct GuestVirtual: Equatable {
    public let value: UInt64

    @inline(__always) public init(_ value: UInt64) { self.value = value }

    /// Bits 63:47 are all alike (Intel SDM vol. 1, 3.3.7.1).
    @inline(__always) public var isCanonical: Bool {
        let top = Int64(bitPattern: value) >> 47
        return top == 0 || top == -1
    }

    /// Where no guest may map anything (top slots 257 to 271).
    @inline(__always) public var isInHole: Bool {
        TopSlot.isInHole(slot(at: .four))
    }

    /// Which of the 512 entries of a table at `level` translates this address.
    @inline(__always) public func slot(at level: Level) -> Int {
        Int(truncatingIfNeeded: (value >> level.shift) & 511)
    }

    @inline(__always) public var pageOffset: UInt64 { value & 4095 }

    /// The other linear address that an LA57 host's companion page resolves to the same
    /// entry: bits 63:48 flipped. See Roots.swift.
    @inline(__always) public var alias: GuestVirtual { GuestVirtual(value ^ 0xffff_0000_0000_0000) }
}

/// An address in the guest's own physical memory.
public struct GuestPhysical: Equatable {
    public let value: UInt64

    @inline(__always) public init(_ value: UInt64) { self.value = value }
    @inline(__always) public init(frame: GuestFrame, slot: Int) {
        value = UInt64(frame.value) << 12 | UInt64(slot) << 3
    }

    /// The frame's number, not bounded by 32 bits: check it against the VM before use.
    @inline(__always) public var frameNumber: UInt64 { value >> 12 }
    @inline(__always) public var pageOffset: UInt64 { value & 4095 }
}

/// The number of a 4 KiB frame of guest memory, RAM or special.
public struct GuestFrame: Equatable {
    public let value: UInt32
    @inline(__always) public init(_ value: UInt32) { self.value = value }
}

/// A physical address of the host: goes into shadow entries and CR3, and never to a guest.
public struct HostPhysical: Equatable {
    public let value: UInt64
    @inline(__always) public init(_ value: UInt64) { self.value = value }
}

/// Slots of a top-level table.
enum TopSlot {
    /// First slot of the kernel's half; below it user addresses.
    static var kernelHalf: Int { 256 }

    /// PENUMBRA_HOLE_START to PENUMBRA_HOLE_END as slots.
    @inline(__always) static func isInHole(_ slot: Int) -> Bool { slot > 256 && slot < 272 }
}

/// Level of a paging structure: 1 holds 4 KiB leaves, 4 is the root.
public enum Level: UInt8 {
    case one = 1
    case two = 2
    case three = 3
    case four = 4

    @inline(__always) var shift: UInt64 { 3 + 9 * UInt64(rawValue) }

    @inline(__always) var below: Level {
        switch self {
        case .four: .three
        case .three: .two
        default: .one
        }
    }
}
