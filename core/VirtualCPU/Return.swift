// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

import CPenumbra

extension VCPU {
    /// The iret hypercall where assembly could not take it: back to guest user or guest
    /// kernel with a whole new register context, and the event mask from the frame's IF.
    func returnFromHandler() -> Continuation {
        count(PENUMBRA_COUNTER_slow_irets)
        let stack = GuestVirtual(frame.rsp)
        var target = ReturnFrame()
        guard isGuestAddress(stack) else { return kill(PENUMBRA_CRASH_BAD_IRET) }
        switch copyIn(&target, from: stack) {
        case .done: break
        case .guestFault, .notCanonical, .refused: return kill(PENUMBRA_CRASH_BAD_IRET)
        case let status: return leave(for: status, redo: .call)
        }
        let toUser = target.cs & 3 == 3
        if toUser && page.pointee.cr3_user == 0 { return kill(PENUMBRA_CRASH_BAD_IRET) }
        load(target)
        if state.pointee.info != 0 { setEventsMasked(target.rflags & Flags.interrupt == 0) }
        if toUser { switchMode(to: .user) }
        return finishWithEvents()
    }

    /// Selectors and RIP go to the hardware as they are: what it refuses comes back as a
    /// fault on iretq (`returnFaulted`). A slot that the guest's table lacks is refused too.
    private func load(_ target: ReturnFrame) {
        frame.rax = target.rax
        frame.r11 = target.r11
        frame.rcx = target.rcx
        frame.rip = target.rip
        frame.cs = target.cs & 0xffff | 3
        frame.rflags = Flags.real(target.rflags)
        frame.rsp = target.rsp
        frame.ss = target.ss & 0xffff | 3
    }

    /// iretq refused what the guest asked for: its kernel gets the fault, as if the target
    /// context had raised it.
    func returnFaulted() -> Continuation {
        let error = frame.error & 0xffff
        frame.cs = frame.cs & 0xffff | 3
        return inject(Vector.generalProtection, error: error, redo: .instruction)
    }
}
