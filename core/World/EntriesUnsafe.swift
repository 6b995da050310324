// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What assembly calls (World/Assembly/entry.S). The pointer is the vCPU page that the entry
// came through, valid by construction: it is where TSS.RSP0 and KERNEL_GS_BASE point.

import CPenumbra

/// Which personality this VM has: fixed at creation, one instantiation of the machinery each.
@inline(__always) private var isXenPV: Bool {
    vmPage.pointee.personality == UInt32(PENUMBRA_PERSONALITY_XEN_PV)
}

/// `syscall` in guest kernel mode: a hypercall.
@c(core_hypercall)
public func coreHypercall(_ page: UnsafeMutablePointer<penumbra_vcpu>) -> UInt32 {
    let vcpu = VCPU(page)
    vcpu.state.pointee.repeatedFaults = 0
    vcpu.count(PENUMBRA_COUNTER_hypercalls)
    #if PENUMBRA_DEBUG
        DebugLog.line("hypercall", vcpu.frame.rax, vcpu.frame.rdi, vcpu.frame.rip)
    #endif
    return checked(isXenPV ? XenPV.hypercall(vcpu) : TestPersonality.hypercall(vcpu), vcpu)
}

/// `syscall` of guest user that assembly did not deliver itself, or of 32-bit code.
@c(core_syscall)
public func coreSyscall(_ page: UnsafeMutablePointer<penumbra_vcpu>) -> UInt32 {
    let vcpu = VCPU(page)
    vcpu.state.pointee.repeatedFaults = 0
    return checked(vcpu.deliverSystemCall(), vcpu)
}

/// An exception raised in ring 3.
@c(core_exception)
public func coreException(_ page: UnsafeMutablePointer<penumbra_vcpu>) -> UInt32 {
    let vcpu = VCPU(page)
    return checked(
        isXenPV ? Exceptions<XenPV>.handle(vcpu) : Exceptions<TestPersonality>.handle(vcpu), vcpu)
}

/// A native store to a table, with all registers in the frame.
@c(core_table_write)
public func coreTableWrite(_ page: UnsafeMutablePointer<penumbra_vcpu>) -> UInt32 {
    let vcpu = VCPU(page)
    return checked(vcpu.finishTableWrite(), vcpu)
}

/// iretq refused the guest's context.
@c(core_iret_fault)
public func coreIretFault(_ page: UnsafeMutablePointer<penumbra_vcpu>) -> UInt32 {
    let vcpu = VCPU(page)
    return checked(vcpu.returnFaulted(), vcpu)
}

/// Someone wants this vCPU's attention before it returns to its guest.
@c(core_attention)
public func coreAttention(_ page: UnsafeMutablePointer<penumbra_vcpu>) -> UInt32 {
    let vcpu = VCPU(page)
    return checked(
        isXenPV ? Attention<XenPV>.serve(vcpu) : Attention<TestPersonality>.serve(vcpu), vcpu)
}

#if PENUMBRA_DEBUG
    /// In a debug core the whole shadow state is checked after every entry; of a guest kernel as
    /// large as Linux, which enters 100,000 times to boot, after every 512th.
    private func isCheckDue(_ vcpu: VCPU) -> Bool {
        guard vmPage.pointee.flags & UInt32(PENUMBRA_VM_DEBUG) != 0 else { return false }
        return !isXenPV || vcpu.counter(UInt64(PENUMBRA_COUNTER_core_entries.rawValue)).map { $0 & 511 } == 0
    }

    private func checked(_ continuation: Continuation, _ vcpu: VCPU) -> UInt32 {
        if isCheckDue(vcpu), let broken = vcpu.memory.check() {
            DebugLog.line("invariant", broken.invariant.rawValue, UInt64(broken.subject), UInt64(broken.slot))
            let subject = UInt64(broken.subject) << 16 | UInt64(broken.slot)
            return vcpu.kill(PENUMBRA_CRASH_INVARIANT, detail: broken.invariant.rawValue << 56 | subject)
                .rawValue
        }
        return continuation.rawValue
    }
#else
    @inline(__always)
    private func checked(_ continuation: Continuation, _ vcpu: VCPU) -> UInt32 { continuation.rawValue }
#endif
