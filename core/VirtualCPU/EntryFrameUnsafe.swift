// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

import CPenumbra

/// The guest's registers as the last entry left them, in place: reading one is one load, and
/// nothing copies the whole frame. Lies in the vCPU page, which outlives every entry.
struct EntryFrame {
    private let frame: UnsafeMutablePointer<penumbra_frame>

    @inline(__always) init(_ page: UnsafeMutablePointer<penumbra_vcpu>) {
        // The frame is the page's first field, where assembly pushes it.
        frame = UnsafeMutableRawPointer(page).assumingMemoryBound(to: penumbra_frame.self)
    }

    @inline(__always) var r15: UInt64 {
        get { frame.pointee.r15 }
        nonmutating set { frame.pointee.r15 = newValue }
    }
    @inline(__always) var r14: UInt64 {
        get { frame.pointee.r14 }
        nonmutating set { frame.pointee.r14 = newValue }
    }
    @inline(__always) var r13: UInt64 {
        get { frame.pointee.r13 }
        nonmutating set { frame.pointee.r13 = newValue }
    }
    @inline(__always) var r12: UInt64 {
        get { frame.pointee.r12 }
        nonmutating set { frame.pointee.r12 = newValue }
    }
    @inline(__always) var rbp: UInt64 {
        get { frame.pointee.rbp }
        nonmutating set { frame.pointee.rbp = newValue }
    }
    @inline(__always) var rbx: UInt64 {
        get { frame.pointee.rbx }
        nonmutating set { frame.pointee.rbx = newValue }
    }
    @inline(__always) var r11: UInt64 {
        get { frame.pointee.r11 }
        nonmutating set { frame.pointee.r11 = newValue }
    }
    @inline(__always) var r10: UInt64 {
        get { frame.pointee.r10 }
        nonmutating set { frame.pointee.r10 = newValue }
    }
    @inline(__always) var r9: UInt64 {
        get { frame.pointee.r9 }
        nonmutating set { frame.pointee.r9 = newValue }
    }
    @inline(__always) var r8: UInt64 {
        get { frame.pointee.r8 }
        nonmutating set { frame.pointee.r8 = newValue }
    }
    @inline(__always) var rax: UInt64 {
        get { frame.pointee.rax }
        nonmutating set { frame.pointee.rax = newValue }
    }
    @inline(__always) var rcx: UInt64 {
        get { frame.pointee.rcx }
        nonmutating set { frame.pointee.rcx = newValue }
    }
    @inline(__always) var rdx: UInt64 {
        get { frame.pointee.rdx }
        nonmutating set { frame.pointee.rdx = newValue }
    }
    @inline(__always) var rsi: UInt64 {
        get { frame.pointee.rsi }
        nonmutating set { frame.pointee.rsi = newValue }
    }
    @inline(__always) var rdi: UInt64 {
        get { frame.pointee.rdi }
        nonmutating set { frame.pointee.rdi = newValue }
    }
    @inline(__always) var vector: UInt64 {
        get { frame.pointee.vector }
        nonmutating set { frame.pointee.vector = newValue }
    }
    @inline(__always) var error: UInt64 {
        get { frame.pointee.error }
        nonmutating set { frame.pointee.error = newValue }
    }
    @inline(__always) var rip: UInt64 {
        get { frame.pointee.rip }
        nonmutating set { frame.pointee.rip = newValue }
    }
    @inline(__always) var cs: UInt64 {
        get { frame.pointee.cs }
        nonmutating set { frame.pointee.cs = newValue }
    }
    @inline(__always) var rflags: UInt64 {
        get { frame.pointee.rflags }
        nonmutating set { frame.pointee.rflags = newValue }
    }
    @inline(__always) var rsp: UInt64 {
        get { frame.pointee.rsp }
        nonmutating set { frame.pointee.rsp = newValue }
    }
    @inline(__always) var ss: UInt64 {
        get { frame.pointee.ss }
        nonmutating set { frame.pointee.ss = newValue }
    }
}

extension VCPU {
    @inline(__always) var frame: EntryFrame { EntryFrame(page) }
}
