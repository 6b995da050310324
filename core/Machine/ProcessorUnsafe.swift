// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The processor's own registers, one instruction each. Sound wherever the core runs: all of
// them are legal in ring 0 of the core's world, and none touches memory that Swift owns.

import CCore

/// What is rare stays a function of its own, so that core-lint can name where it happens.
enum Processor {
    @inline(__always) static var timeStamp: UInt64 { ccore_rdtsc() }

    /// CR2: the linear address of the last page fault.
    @inline(__always) static var faultAddress: UInt64 { ccore_read_cr2() }

    /// CR3. Flushes what is not global; nothing of a guest's is.
    @inline(__always) static func loadRoot(_ cr3: UInt64) { ccore_load_cr3(cr3) }

    static var control0: UInt64 {
        @inline(never) get { ccore_read_cr0() }
    }
    static var extendedFeatures: UInt64 {
        @inline(never) get { ccore_read_efer() }
    }

    /// XCR0; the caller has checked the value against what XSETBV accepts.
    @inline(never) static func setExtendedControl(_ value: UInt64) { ccore_xsetbv(value) }

    /// Bases of the segments that the guest is running with; a new one must be canonical.
    static var fsBase: UInt64 {
        @inline(never) get { ccore_read_fs_base() }
        @inline(never) set { ccore_write_fs_base(newValue) }
    }
    static var gsBase: UInt64 {
        @inline(never) get { ccore_read_gs_base() }
        @inline(never) set { ccore_write_gs_base(newValue) }
    }

    /// Loads that base of GS, which is canonical, and returns the one before: for changes of mode.
    @inline(__always) static func exchangeGSBase(_ base: UInt64) -> UInt64 {
        let old = ccore_read_gs_base()
        ccore_write_gs_base(base)
        return old
    }

    /// GS, and its base with it. False: the live tables do not take the selector, and GS is as it was.
    static func loadGS(_ selector: UInt16) -> Bool { ccore_load_gs(selector) }

    /// CPUID of the processor itself.
    static func identify(_ leaf: UInt32, _ subleaf: UInt32) -> Identity {
        var identity = Identity()
        ccore_cpuid(leaf, subleaf, &identity.eax, &identity.ebx, &identity.ecx, &identity.edx)
        return identity
    }

    /// DR6 as the last #DB left it; reading clears it.
    @inline(never) static func takeDebugStatus() -> UInt64 { ccore_take_debug_status() }

    /// A byte for the debug console of an emulator (port 0xe9).
    @inline(never) static func writeDebugByte(_ byte: UInt8) { ccore_debug_byte(byte) }
}
