// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Entering the guest kernel: exceptions, events, system calls. All are one frame on the
// guest kernel's stack (interface/penumbra/test_abi.h; Xen's "bounce frame"), from RSP up:
//
//      rcx  r11  [error]  rip  cs | mask << 32  rflags  rsp  ss
//
// From guest user mode the vCPU changes to kernel mode first: the kernel's root, the
// kernel's GS base, and the stack that the kernel registered.

import CPenumbra

/// What is delivered.
struct Delivery {
    let handler: UInt64
    let masksEvents: Bool
    /// nil: the frame has no error code.
    var error: UInt64? = nil
    /// System calls start with DF clear.
    var clearsDirection = false
}

extension VCPU {
    /// Delivers an exception through the guest's gate.
    func inject(_ vector: UInt64, error: UInt64, redo: Redo) -> Continuation {
        let gate = gate(vector)
        guard gate.address != 0 else { return kill(PENUMBRA_CRASH_TRIPLE_FAULT, detail: vector) }
        count(PENUMBRA_COUNTER_exceptions_injected)
        let delivery = Delivery(
            handler: gate.address, masksEvents: gate.masksEvents,
            error: Vector.pushesError(vector) ? error : nil)
        return deliver(delivery, redo: redo)
    }

    /// Delivers a page fault, with its address where the guest looks for it.
    @inline(__always)
    func injectPageFault(_ address: UInt64, _ error: PageFaultError) -> Continuation {
        if state.pointee.info != 0 { setFaultAddress(address) }
        page.pointee.crash_cr2 = address
        if injectDirectly(error) { return .resume }
        return injectLastFault(error)
    }

    @inline(never)
    private func injectLastFault(_ error: PageFaultError) -> Continuation {
        inject(Vector.pageFault, error: UInt64(error.rawValue), redo: .instruction)
    }

    /// The short form of `inject`, for the fault that Linux takes most: of guest user mode,
    /// with all that direct switching of system calls relies on (`refreshFastPaths`), and
    /// events unmasked before and masked after. Nothing has changed if it returns false.
    @inline(__always)
    private func injectDirectly(_ error: PageFaultError) -> Bool {
        guard mode == .user, page.pointee.fast & UInt64(PENUMBRA_FAST_SYSCALL) != 0, !eventsMasked,
            !memory.isAnythingOwed
        else { return false }
        let gate = gate(Vector.pageFault)
        guard gate.address != 0, gate.masksEvents else { return false }
        let stack = page.pointee.kernel_frame &- 8
        switchMode(to: .kernel)
        guard pushFault(error, at: stack) else {
            switchMode(to: .user)
            return false
        }
        setEventsMasked(true)
        count(PENUMBRA_COUNTER_exceptions_injected)
        enterHandler(gate.address, stack: stack, clearsDirection: false)
        state.pointee.repeatedFaults = 0
        return true
    }

    /// Puts the frame on the guest kernel's stack and makes the handler what runs next.
    func deliver(_ delivery: Delivery, redo: Redo) -> Continuation {
        let fromUser = mode == .user
        let words: UInt64 = delivery.error == nil ? 7 : 8
        let interrupted = fromUser ? state.pointee.kernelStack : frame.rsp
        let stack = GuestVirtual((interrupted & ~15) &- 8 &* words)
        guard isGuestAddress(stack), isGuestAddress(GuestVirtual(stack.value &+ 8 &* words)) else {
            return kill(PENUMBRA_CRASH_BAD_STACK)
        }
        // The frame is written in kernel mode: its root is loaded then, and has to be anyway.
        if fromUser { switchMode(to: .kernel) }
        let status = writeFrame(delivery, at: stack, fromUser: fromUser, bytes: UInt(words) * 8)
        guard case .done = status else { return undelivered(status, fromUser, redo) }
        if delivery.masksEvents && state.pointee.info != 0 { setEventsMasked(true) }
        enterHandler(delivery.handler, stack: stack.value, clearsDirection: delivery.clearsDirection)
        state.pointee.repeatedFaults = 0
        return finish()
    }

    @inline(never)
    private func undelivered(_ status: MemoryStatus, _ fromUser: Bool, _ redo: Redo) -> Continuation {
        switch status {
        case .guestFault, .notCanonical, .refused: return kill(PENUMBRA_CRASH_BAD_STACK)
        default: break
        }
        if fromUser { switchMode(to: .user) }
        return leave(for: status, redo: redo)
    }

    @inline(__always)
    private func writeFrame(
        _ delivery: Delivery, at stack: GuestVirtual, fromUser: Bool, bytes: UInt
    ) -> MemoryStatus {
        let masked = state.pointee.info != 0 && eventsMasked
        // Bits 1:0 clear tell the guest that its kernel was interrupted.
        let selector = (fromUser ? frame.cs : frame.cs & ~3) & 0xffff | (masked ? 1 << 32 : 0)
        let flags =
            frame.rflags & ~(Flags.interrupt | Flags.ioPrivilege) | (masked ? 0 : Flags.interrupt)
        var words = InjectedFrame()
        words.rcx = frame.rcx
        words.r11 = frame.r11
        if let error = delivery.error {
            words.w2 = error
            words.w3 = frame.rip
            words.w4 = selector
            words.w5 = flags
            words.w6 = frame.rsp
            words.w7 = frame.ss
        } else {
            words.w2 = frame.rip
            words.w3 = selector
            words.w4 = flags
            words.w5 = frame.rsp
            words.w6 = frame.ss
        }
        return copyOut(&words, to: stack, bytes: bytes)
    }

    @inline(__always)
    private func enterHandler(_ handler: UInt64, stack: UInt64, clearsDirection: Bool) {
        var flags = Flags.forHandler(frame.rflags)
        if clearsDirection { flags &= ~Flags.direction }
        frame.rip = handler
        frame.cs = UInt64(PENUMBRA_SEL_GUEST_CS)
        frame.rflags = flags
        frame.rsp = stack
        frame.ss = UInt64(PENUMBRA_SEL_GUEST_SS)
    }

    /// A system call of guest user mode that assembly did not switch itself.
    func deliverSystemCall() -> Continuation {
        let isCompatible = frame.vector == UInt64(PENUMBRA_VECTOR_SYSCALL32)
        let handler = isCompatible ? state.pointee.syscall32Callback : state.pointee.syscallCallback
        guard handler != 0 else {
            frame.rip &-= 2
            return inject(Vector.invalidOpcode, error: 0, redo: .instruction)
        }
        count(PENUMBRA_COUNTER_user_syscalls)
        return deliver(Delivery(handler: handler, masksEvents: true, clearsDirection: true), redo: .call)
    }

    /// Delivers the event upcall if one is due. Called wherever the guest's mask may have
    /// become clear or something pending: after hypercalls, and on attention.
    @inline(__always)
    func finishWithEvents() -> Continuation {
        if state.pointee.info != 0 && eventsPending && !eventsMasked { return deliverEvent() }
        return finish()
    }

    private func deliverEvent() -> Continuation {
        let handler = state.pointee.eventCallback
        guard handler != 0 else { return finish() }
        state.pointee.isHalted = false
        count(PENUMBRA_COUNTER_events_injected)
        return deliver(
            Delivery(handler: handler, masksEvents: true),
            redo: .attention(PENUMBRA_ATTENTION_EVENT))
    }

    // MARK: modes

    /// The hardware's half of a change of mode: GS bases, and CR3 where the core runs on
    /// the guest's root.
    @inline(never)
    func switchMode(to mode: GuestMode) {
        page.pointee.gs_base_inactive = Processor.exchangeGSBase(page.pointee.gs_base_inactive)
        page.pointee.guest_mode = UInt64(mode.rawValue)
        if page.pointee.cr3_core == 0 { Processor.loadRoot(currentCR3) }
    }

    /// Canonical, and outside of the hole that holds the core.
    @inline(__always)
    func isGuestAddress(_ address: GuestVirtual) -> Bool {
        address.isCanonical && !address.isInHole
    }

    /// Says which fast paths assembly may take: all that they assume must hold. They write
    /// to vcpu_info through the RAM window, which the restricted view does not have.
    func refreshFastPaths() {
        var fast: UInt64 = 0
        let stack = GuestVirtual((state.pointee.kernelStack & ~15) &- 56)
        page.pointee.kernel_frame = stack.value
        page.pointee.syscall_handler = state.pointee.syscallCallback
        page.pointee.upcall = UInt64(state.pointee.info)
        if page.pointee.cr3_core == 0 && state.pointee.info != 0 && page.pointee.cr3_user != 0 {
            fast |= UInt64(PENUMBRA_FAST_IRET)
            let handler = GuestVirtual(state.pointee.syscallCallback)
            // From below the frame of an exception, which has a word more, to the end.
            if handler.value != 0 && isGuestAddress(handler) && isGuestAddress(GuestVirtual(stack.value &- 8))
                && isGuestAddress(GuestVirtual(stack.value &+ 56)) && state.pointee.kernelStack != 0
            {
                fast |= UInt64(PENUMBRA_FAST_SYSCALL)
            }
        }
        page.pointee.fast = fast
    }
}
