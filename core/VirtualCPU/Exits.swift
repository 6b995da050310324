// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// How an entry into the core ends. Every exit is restartable (interface/penumbra/exit.h):
// what was interrupted is executed again, or goes on from progress kept in registers.

import CPenumbra

/// What assembly does when a core function returns: the values it tests for.
enum Continuation: UInt32 {
    case resume = 0
    case leave = 1
    /// The frame lacks the registers that functions preserve: complete it, and then
    /// `core_table_write`.
    case completeTableWrite = 2
}

/// What has to happen before the guest can redo what it was doing.
enum Redo {
    /// A faulting instruction: RIP still points at it.
    case instruction
    /// A hypercall or system call: step back onto its `syscall` instruction.
    case call
    /// Nothing of the guest's: the vCPU comes back to the core by itself.
    case attention(Int32)
}

extension VCPU {
    @inline(__always) var mode: GuestMode {
        page.pointee.guest_mode == UInt64(PENUMBRA_MODE_USER) ? .user : .kernel
    }

    func leave(_ reason: Int32, _ argument0: UInt64 = 0, _ argument1: UInt64 = 0) -> Continuation {
        page.pointee.exit_reason = UInt64(reason)
        page.pointee.exit_arg.0 = argument0
        page.pointee.exit_arg.1 = argument1
        return .leave
    }

    /// Ends the VM: the guest did what cannot be survived, or the core found itself broken.
    func kill(_ reason: Int32, detail: UInt64 = 0) -> Continuation {
        page.pointee.crash_reason = UInt64(reason)
        page.pointee.crash_rip = frame.rip
        page.pointee.crash_vector = frame.vector
        page.pointee.crash_error = frame.error
        page.pointee.crash_detail = detail
        return leave(PENUMBRA_EXIT_CRASH)
    }

    /// Leaves with a request to the VMM; its data is in the run page already.
    func ask(_ number: UInt64, _ first: UInt64, _ second: UInt64) -> Continuation {
        run.pointee.arg.0 = number
        run.pointee.arg.1 = first
        run.pointee.arg.2 = second
        state.pointee.awaitsAnswer = true
        return leave(PENUMBRA_EXIT_REQUEST)
    }

    private func prepare(_ redo: Redo) {
        switch redo {
        case .instruction: break
        case .call: frame.rip &-= 2
        case .attention(let which): raiseAttention(which)
        }
    }

    /// Leaves for what `status` needs, to redo the operation afterwards. `status` is one of
    /// the `needs` cases, or the end of the pool.
    func leave(for status: MemoryStatus, redo: Redo) -> Continuation {
        switch status {
        case .needsFrame(let frame, let count):
            prepare(redo)
            return leave(PENUMBRA_EXIT_POPULATE, UInt64(frame.value), UInt64(count))
        case .needsPool:
            prepare(redo)
            return leave(PENUMBRA_EXIT_GROW)
        case .needsFlush:
            prepare(redo)
            let way = finish()
            // The guest's own return lets interrupts in before it asks again; attention would not.
            if case .attention = redo, way == .resume { return leave(PENUMBRA_EXIT_SLICE) }
            return way
        case .outOfPool:
            return kill(PENUMBRA_CRASH_OUT_OF_POOL)
        case .done, .guestFault, .notCanonical, .refused, .tableWrite:
            return kill(PENUMBRA_CRASH_INVARIANT)
        }
    }

    /// The way back to the guest after any operation on memory: nothing is owed to a TLB.
    @inline(__always)
    func finish() -> Continuation {
        if memory.owesFlush { memory.settleFlush(cr3: currentCR3) }
        let others = memory.vcpusToKick()
        return others == 0 ? .resume : kick(others)
    }

    /// The way back after what changed no memory. Debts that others have made for this vCPU
    /// come with its attention, which is looked at before the guest runs.
    @inline(__always)
    func finishUntouched() -> Continuation {
        state.pointee.info != 0 && eventsPending && !eventsMasked ? finishWithPendingEvents() : .resume
    }

    /// A function of its own, so that `finishUntouched` stays short where it is inlined.
    @inline(never)
    private func finishWithPendingEvents() -> Continuation { finishWithEvents() }

    /// Takes other vCPUs out of guest mode; their attention makes them pay what they owe
    /// before they go back.
    @inline(never)
    private func kick(_ vcpus: UInt64) -> Continuation {
        var left = vcpus
        while left != 0 {
            other(UInt64(left.trailingZeroBitCount))?.raiseAttention(PENUMBRA_ATTENTION_FLUSH)
            left &= left &- 1
        }
        return leave(PENUMBRA_EXIT_KICK, vcpus, UInt64(PENUMBRA_KICK_WAITS))
    }

    @inline(__always) var currentCR3: UInt64 {
        if page.pointee.cr3_core != 0 { return page.pointee.cr3_core }
        return mode == .user ? page.pointee.cr3_user : page.pointee.cr3_kernel
    }
}
