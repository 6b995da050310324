// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Attention: what others want of a vCPU, a byte each (interface/penumbra/vcpu.h), looked at
// last before every return to the guest. A raiser stores its news, then the byte, fences,
// and kicks the vCPU if it is in guest mode; so what is stored after our look here makes
// the guest exit at its first instruction.

import CPenumbra

enum Attention<P: Personality> {
    static func serve(_ vcpu: VCPU) -> Continuation {
        // NMIs and machine checks that came in ring 0 are the module's to send again. All else waits: a
        // vCPU that has not started has no frame to go on with.
        if vcpu.hasAttention(PENUMBRA_ATTENTION_NMI) || vcpu.hasAttention(PENUMBRA_ATTENTION_MCE) {
            return vcpu.leave(PENUMBRA_EXIT_SLICE)
        }
        // The module's, for vCPU 0: the others are brought up by the guest.
        if vcpu.takeAttention(PENUMBRA_ATTENTION_START) { vcpu.bringUpFirst() }
        _ = vcpu.takeAttention(PENUMBRA_ATTENTION_FLUSH)
        _ = vcpu.takeAttention(PENUMBRA_ATTENTION_EVENT)
        vcpu.endIdleTime()
        if vcpu.takeAttention(PENUMBRA_ATTENTION_DONE) { answer(vcpu) }
        var others: UInt64 = 0
        if vcpu.takeAttention(PENUMBRA_ATTENTION_POSTED) { others = P.drainPosted(vcpu) }
        let isArmed = !vcpu.takeAttention(PENUMBRA_ATTENTION_TIMER) || timer(vcpu, &others)
        if others != 0 {
            vcpu.raiseAttention(isArmed ? PENUMBRA_ATTENTION_EVENT : PENUMBRA_ATTENTION_TIMER)
            return vcpu.leave(PENUMBRA_EXIT_KICK, others)
        }
        if !isArmed {
            vcpu.raiseAttention(PENUMBRA_ATTENTION_EVENT)  // the rest of this look is still due
            return vcpu.leave(PENUMBRA_EXIT_TIMER)
        }
        guard vcpu.stage == .up else { return vcpu.sleep() }
        if vcpu.state.pointee.awaitsStart { return vcpu.start(P.self) }
        if vcpu.page.pointee.stolen_time != vcpu.state.pointee.stolenTime {
            let told = P.noteStolenTime(vcpu)
            guard case .done = told else {
                return vcpu.leave(for: told, redo: .attention(PENUMBRA_ATTENTION_EVENT))
            }
        }
        return vcpu.state.pointee.isHalted ? vcpu.halt() : vcpu.finishWithEvents()
    }

    /// False: the module's timer was early and must be armed again.
    private static func timer(_ vcpu: VCPU, _ others: inout UInt64) -> Bool {
        if vcpu.takeExpiredDeadline() {
            others |= P.timerExpired(vcpu)
            return true
        }
        if vcpu.needsArming && vcpu.state.pointee.isHalted { return true }  // halting arms it
        return !vcpu.needsArming
    }

    /// The VMM may write to the run page at any time: the result is read once.
    private static func answer(_ vcpu: VCPU) {
        guard vcpu.state.pointee.awaitsAnswer else { return }
        vcpu.state.pointee.awaitsAnswer = false
        P.answered(vcpu, vcpu.run.pointee.result)
    }
}

extension VCPU {
    /// Sleeps until an event can be delivered. Unmasks events, as `sti; hlt` would.
    func halt() -> Continuation {
        guard state.pointee.info != 0 else { return leave(PENUMBRA_EXIT_HALT) }
        setEventsMasked(false)
        state.pointee.isHalted = true
        if eventsPending && state.pointee.eventCallback != 0 { return finishWithEvents() }
        return sleep()
    }

    /// Until someone wants its attention. What it does then is the caller's to have arranged.
    func sleep() -> Continuation {
        beginIdleTime()
        return leave(PENUMBRA_EXIT_HALT)
    }

    /// vCPU 0 starts with the VM.
    func bringUpFirst() {
        guard id == 0, advance(from: .blank, to: .up) else { return }
        state.pointee.awaitsStart = true
    }

    /// First entry: registers that the VMM (vCPU 0) or the guest chose, all checked here.
    func start<P: Personality>(_ personality: P.Type) -> Continuation {
        let start = page.pointee.start
        guard isGuestAddress(GuestVirtual(start.rip)), start.info_address & 63 == 0,
            start.root_frame < UInt64(vmPage.pointee.total_frames)
        else { return kill(PENUMBRA_CRASH_BAD_START) }
        let memory = memory
        if id == 0 { memory.setPolicy(P.memoryPolicy) }
        let info = GuestPhysical(start.info_address)
        guard let infoFrame = memory.frame(numbered: info.frameNumber) else {
            return kill(PENUMBRA_CRASH_BAD_START)
        }
        switch memory.claimForCore(infoFrame) {
        case .done: break
        case .refused, .guestFault, .notCanonical: return kill(PENUMBRA_CRASH_BAD_START)
        case let status: return leave(for: status, redo: .attention(PENUMBRA_ATTENTION_EVENT))
        }
        guard let address = memory.coreAddress(of: info) else { return kill(PENUMBRA_CRASH_BAD_START) }
        switch P.prepareStart(self) {
        case .done: break
        case .refused, .guestFault, .notCanonical: return kill(PENUMBRA_CRASH_BAD_START)
        case let status: return leave(for: status, redo: .attention(PENUMBRA_ATTENTION_EVENT))
        }
        switch loadRoots(kernel: start.root_frame, user: state.pointee.initial.userRoot) {
        case .done: break
        case .refused, .guestFault, .notCanonical: return kill(PENUMBRA_CRASH_BAD_START)
        case let status: return leave(for: status, redo: .attention(PENUMBRA_ATTENTION_EVENT))
        }
        state.pointee.infoAddress = start.info_address
        state.pointee.info = address
        state.pointee.awaitsStart = false
        setEventsMasked(true)
        publishClock()
        P.started(self)
        loadInitialRegisters()
        refreshFastPaths()
        return finish()
    }

    private func loadInitialRegisters() {
        let start = page.pointee.start
        let initial = state.pointee.initial
        frame.vector = UInt64(PENUMBRA_VECTOR_START)
        frame.error = 0
        frame.rip = start.rip
        frame.rsp = start.rsp
        frame.rsi = start.rsi
        frame.rdi = start.rdi
        frame.cs = UInt64(PENUMBRA_SEL_GUEST_CS)
        frame.ss = UInt64(PENUMBRA_SEL_GUEST_SS)
        frame.rflags = Flags.real(initial.rflags)
        frame.rax = initial.rax
        frame.rbx = initial.rbx
        frame.rcx = initial.rcx
        frame.rdx = initial.rdx
        frame.rbp = initial.rbp
        frame.r8 = initial.r8
        frame.r9 = initial.r9
        frame.r10 = initial.r10
        frame.r11 = initial.r11
        frame.r12 = initial.r12
        frame.r13 = initial.r13
        frame.r14 = initial.r14
        frame.r15 = initial.r15
        Processor.fsBase = initial.fsBase
        Processor.gsBase = initial.gsBase
        page.pointee.gs_base_inactive = initial.inactiveGSBase
    }

    /// Makes these guest frames the kernel's and the user's root; user 0: none.
    func loadRoots(kernel: UInt64, user: UInt64) -> MemoryStatus {
        guard user < UInt64(vmPage.pointee.total_frames) else { return .refused }
        let status = loadKernelRoot(kernel)
        guard case .done = status else { return status }
        return loadUserRoot(user)
    }

    func loadKernelRoot(_ number: UInt64) -> MemoryStatus {
        guard number < UInt64(vmPage.pointee.total_frames) else { return .refused }
        let status = memory.loadRoot(GuestFrame(UInt32(number)), mode: .kernel)
        guard case .done = status else { return status }
        page.pointee.cr3_kernel = rootRegister(.kernel)
        return .done
    }

    /// 0: none.
    func loadUserRoot(_ number: UInt64) -> MemoryStatus {
        guard number < UInt64(vmPage.pointee.total_frames) else { return .refused }
        if number == 0 {
            memory.unloadRoot(mode: .user)
        } else {
            let status = memory.loadRoot(GuestFrame(UInt32(number)), mode: .user)
            guard case .done = status else { return status }
        }
        page.pointee.cr3_user = number == 0 ? 0 : rootRegister(.user)
        refreshFastPaths()
        return .done
    }

    private func rootRegister(_ mode: GuestMode) -> UInt64 {
        guard let root = memory.rootAddress(mode: mode) else { return vmPage.pointee.core_root }
        return root.value
    }
}
