// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

import CPenumbra

/// Exception vectors (Intel SDM vol. 3, table 6-1).
enum Vector {
    static var debug: UInt64 { 1 }
    static var breakpoint: UInt64 { 3 }
    static var overflow: UInt64 { 4 }
    static var invalidOpcode: UInt64 { 6 }
    static var invalidTSS: UInt64 { 10 }
    static var segmentNotPresent: UInt64 { 11 }
    static var stackFault: UInt64 { 12 }
    static var generalProtection: UInt64 { 13 }
    static var pageFault: UInt64 { 14 }

    /// Vectors for which the processor pushes an error code, as a set of bits
    /// (8, 10 to 14, 17, 21, 29, 30).
    private static var withErrorCode: UInt64 { 0x6022_7d00 }

    @inline(__always) static func pushesError(_ vector: UInt64) -> Bool {
        vector < 32 && withErrorCode >> vector & 1 != 0
    }
}

/// RFLAGS (Intel SDM vol. 1, 3.4.3).
enum Flags {
    static var carry: UInt64 { 1 << 0 }
    static var parity: UInt64 { 1 << 2 }
    static var zero: UInt64 { 1 << 6 }
    static var sign: UInt64 { 1 << 7 }
    static var overflow: UInt64 { 1 << 11 }
    static var trap: UInt64 { 1 << 8 }
    static var interrupt: UInt64 { 1 << 9 }
    static var direction: UInt64 { 1 << 10 }
    static var ioPrivilege: UInt64 { 3 << 12 }
    static var nestedTask: UInt64 { 1 << 14 }
    static var resume: UInt64 { 1 << 16 }
    static var virtual8086: UInt64 { 1 << 17 }
    static var alignmentCheck: UInt64 { 1 << 18 }

    /// What the hardware runs a guest with, given what it asked for: IF always on, no IOPL.
    @inline(__always) static func real(_ wanted: UInt64) -> UInt64 {
        wanted & UInt64(PENUMBRA_RFLAGS_GUEST) | UInt64(PENUMBRA_RFLAGS_FIXED)
    }

    /// Flags with which an exception or event handler starts.
    @inline(__always) static func forHandler(_ interrupted: UInt64) -> UInt64 {
        real(interrupted & ~(alignmentCheck | resume | nestedTask | trap))
    }
}

/// Selector error code of #GP, #NP, #SS, #TS (Intel SDM vol. 3, 6.13).
struct SelectorError {
    let value: UInt64

    /// The error refers to a gate of the IDT: an INT n that the gate did not allow.
    var refersToIDT: Bool { value & 2 != 0 && value & 1 == 0 }

    static func gate(_ vector: UInt64) -> SelectorError { SelectorError(value: vector << 3 | 2) }
}

/// Model-specific registers that a guest kernel may name (Intel SDM vol. 4).
enum ModelRegister {
    static var timeStampCounter: UInt32 { 0x10 }
    static var extendedFeatures: UInt32 { 0xc000_0080 }
    static var fsBase: UInt32 { 0xc000_0100 }
    static var gsBase: UInt32 { 0xc000_0101 }
    static var kernelGSBase: UInt32 { 0xc000_0102 }
}

/// Debug register 7 (Intel SDM vol. 3, 18.2.4).
struct DebugControl {
    let value: UInt64

    /// L0 to G3, LE, GE, and the R/W and LEN fields; bit 10 reads as one. GD would trap
    /// our own accesses.
    private static var allowed: UInt64 { 0xffff_03ff }
    private static var alwaysOne: UInt64 { 1 << 10 }

    /// Enabled breakpoints, low two bits for each.
    var isArmed: Bool { value & 0xff != 0 }

    /// What may go into the register: no I/O breakpoints (R/W = 10), which need CR4.DE.
    var sanitised: DebugControl {
        var fields = value >> 16
        var ioEnables: UInt64 = 0
        for breakpoint in 0..<4 as Range<UInt64> {
            if fields & 3 == 2 { ioEnables |= 3 << (2 * breakpoint) }
            fields >>= 4
        }
        return DebugControl(value: value & Self.allowed & ~ioEnables | Self.alwaysOne)
    }
}

/// A segment descriptor of a guest's (Intel SDM vol. 3, 3.4.5).
struct SegmentDescriptor {
    let value: UInt64

    private var isPresent: Bool { value >> 47 & 1 != 0 }
    private var isCodeOrData: Bool { value >> 44 & 1 != 0 }
    private var isCode: Bool { value >> 43 & 1 != 0 }

    /// Whether a data segment register takes it by a selector of privilege 3: present data, or code
    /// that may be read. The core's own, of privilege 0, are in the live table too.
    var isReadable: Bool {
        isPresent && isCodeOrData && value >> 45 & 3 == 3 && (!isCode || value >> 41 & 1 != 0)
    }

    /// What the live table gets, as Xen does it: absent descriptors as they are, code and
    /// data with privilege 3 and already accessed, anything else refused.
    var sanitised: SegmentDescriptor? {
        if !isPresent { return SegmentDescriptor(value: 0) }
        if !isCodeOrData { return nil }
        return SegmentDescriptor(value: value | 3 << 45 | 1 << 40)
    }
}
