// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The test personality (interface/penumbra/test_abi.h): hypercalls that expose each
// mechanism of the core to micro-guests, and nothing else.

import CPenumbra

/// Results of hypercalls, as negative errno values of Linux.
private enum Failure {
    static var noEntry: UInt64 { UInt64(bitPattern: -2) }
    static var fault: UInt64 { UInt64(bitPattern: -14) }
    static var invalid: UInt64 { UInt64(bitPattern: -22) }
    static var exists: UInt64 { UInt64(bitPattern: -17) }
    static var notPermitted: UInt64 { UInt64(bitPattern: -1) }
    static var unknown: UInt64 { UInt64(bitPattern: -38) }
}

private var consoleLimit: UInt64 { 2048 }

enum TestPersonality: Personality {
    static var memoryPolicy: MemoryPolicy { .prefillUpdates }

    @inline(__always)
    static func hypercall(_ vcpu: VCPU) -> Continuation {
        let frame = vcpu.frame
        if frame.rax == UInt64(PTEST_NOOP) {
            frame.rax = 0
            return vcpu.finishUntouched()
        }
        return busyHypercall(vcpu, frame)
    }

    /// The compiler makes a chain of comparisons of a switch: the hot ones come first.
    @inline(never)
    private static func busyHypercall(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        if frame.rax == UInt64(PTEST_UPDATE_VA) { return updateAddress(vcpu, frame) }
        if frame.rax == UInt64(PTEST_UPDATE) { return update(vcpu) }
        if frame.rax == UInt64(PTEST_FLUSH) { return flush(vcpu, frame) }
        return colderHypercall(vcpu, frame)
    }

    @inline(never)
    private static func colderHypercall(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        switch Int32(truncatingIfNeeded: min(frame.rax, 0xff)) {
        case PTEST_IRET: return vcpu.returnFromHandler()
        case PTEST_SET_ROOTS: return setRoots(vcpu, frame)
        case PTEST_HALT: return halt(vcpu)
        case PTEST_SET_TIMER: return setTimer(vcpu, frame)
        case PTEST_SEND: return send(vcpu, frame)
        case PTEST_YIELD: return yield(vcpu)
        case PTEST_REQUEST: return request(vcpu, frame)
        case PTEST_CONSOLE_WRITE: return writeConsole(vcpu, frame)
        default: return rareHypercall(vcpu, frame)
        }
    }

    @inline(never)
    private static func rareHypercall(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        switch Int32(truncatingIfNeeded: min(frame.rax, 0xff)) {
        case PTEST_EXIT:
            return vcpu.leave(PENUMBRA_EXIT_SHUTDOWN, UInt64(PENUMBRA_SHUTDOWN_POWEROFF), frame.rdi)
        case PTEST_SET_HANDLER: return result(setHandler(vcpu, frame), vcpu)
        case PTEST_SET_CALLBACK: return result(setCallback(vcpu, frame), vcpu)
        case PTEST_SET_KERNEL_STACK: return result(setKernelStack(vcpu, frame), vcpu)
        case PTEST_BIND: return result(bind(vcpu, frame), vcpu)
        case PTEST_START_VCPU: return startVCPU(vcpu, frame)
        case PTEST_COUNTER: return result(vcpu.counter(frame.rdi) ?? Failure.invalid, vcpu)
        case PTEST_PLANT: return plant(vcpu, frame)
        case PTEST_SET_SEGMENT_BASE:
            return result(vcpu.setSegmentBase(frame.rdi, frame.rsi) ? 0 : Failure.invalid, vcpu)
        case PTEST_SET_DEBUGREG: return setDebugRegister(vcpu, frame)
        case PTEST_GET_DEBUGREG:
            return result(frame.rdi < 8 ? vcpu.debugRegister(frame.rdi) : Failure.invalid, vcpu)
        case PTEST_DROP_FRAME: return dropFrame(vcpu, frame)
        case PTEST_SET_DESCRIPTOR: return result(setDescriptor(vcpu, frame), vcpu)
        case PTEST_LIMIT_POOL: return limitPool(vcpu, frame)
        default: return result(Failure.unknown, vcpu)
        }
    }

    /// Ends a hypercall. The guest may have unmasked events just before it.
    @inline(__always)
    private static func result(_ value: UInt64, _ vcpu: VCPU) -> Continuation {
        vcpu.frame.rax = value
        return vcpu.finishWithEvents()
    }

    /// Ends a hypercall by an operation's status, or leaves to redo it.
    @inline(__always)
    private static func result(of status: MemoryStatus, _ vcpu: VCPU) -> Continuation {
        if case .done = status { return result(0, vcpu) }
        return failure(status, vcpu)
    }

    @inline(never)
    private static func failure(_ status: MemoryStatus, _ vcpu: VCPU) -> Continuation {
        switch status {
        case .refused: return result(Failure.invalid, vcpu)
        case .guestFault, .notCanonical: return result(Failure.fault, vcpu)
        default: return vcpu.leave(for: status, redo: .call)
        }
    }

    // MARK: tables

    /// (requests, count, done, progress): RDI and RSI advance and R10 counts while the call
    /// is restarted between slices; all three are put back at its end.
    private static func update(_ vcpu: VCPU) -> Continuation {
        var left = min(vcpu.frame.rsi, sliceItems)
        let began = vcpu.memory.removals
        while left > 0, !vcpu.memory.hasUsedSlice(since: began) {
            var request = UpdateRequest()
            var status = vcpu.copyIn(&request, from: GuestVirtual(vcpu.frame.rdi))
            if case .done = status {
                status = vcpu.memory.update(GuestPhysical(request.address), to: GuestEntry(request.value))
            }
            switch status {
            case .done: advance(vcpu)
            case .refused: return finishUpdate(vcpu, Failure.invalid)
            case .guestFault, .notCanonical: return finishUpdate(vcpu, Failure.fault)
            default: return vcpu.leave(for: status, redo: .call)
            }
            left -= 1
        }
        if vcpu.frame.rsi == 0 { return finishUpdate(vcpu, 0) }
        vcpu.frame.rip &-= 2
        return vcpu.leave(PENUMBRA_EXIT_SLICE)
    }

    @inline(__always)
    private static func advance(_ vcpu: VCPU) {
        vcpu.frame.rdi &+= 16
        vcpu.frame.rsi &-= 1
        vcpu.frame.r10 &+= 1
    }

    private static func finishUpdate(_ vcpu: VCPU, _ value: UInt64) -> Continuation {
        let frame = vcpu.frame
        var value = value
        if frame.rdx != 0 {
            var done = UInt32(truncatingIfNeeded: frame.r10)
            switch vcpu.copyOut(&done, to: GuestVirtual(frame.rdx), bytes: 4) {
            case .done: break
            case .guestFault, .notCanonical, .refused: value = Failure.fault
            case let status: return vcpu.leave(for: status, redo: .call)
            }
        }
        vcpu.frame.rdi &-= 16 &* frame.r10
        vcpu.frame.rsi &+= frame.r10
        vcpu.frame.r10 = 0
        return result(value, vcpu)
    }

    private static func updateAddress(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        let address = GuestVirtual(frame.rdi)
        let kind = frame.rdx
        guard kind <= 4 else { return result(Failure.invalid, vcpu) }
        let flushesOwnPage = kind == UInt64(PTEST_FLUSH_PAGE)
        let status = vcpu.memory.updateLeaf(
            at: address, to: GuestEntry(frame.rsi), thenFlush: flushesOwnPage)
        guard case .done = status, kind != 0, !flushesOwnPage else { return result(of: status, vcpu) }
        return result(of: flush(vcpu, kind: kind, address), vcpu)
    }

    private static func flush(_ vcpu: VCPU, kind: UInt64, _ address: GuestVirtual) -> MemoryStatus {
        let own: UInt64 = 1 << UInt64(vcpu.id)
        switch Int32(truncatingIfNeeded: kind) {
        case PTEST_FLUSH_LOCAL: return vcpu.memory.flush(.all, vcpus: own)
        case PTEST_FLUSH_PAGE: return vcpu.memory.flush(.page(address), vcpus: own)
        case PTEST_FLUSH_ALL_VCPUS: return vcpu.memory.flush(.all, vcpus: .max)
        case PTEST_FLUSH_PAGE_ALL_VCPUS: return vcpu.memory.flush(.page(address), vcpus: .max)
        default: return .refused
        }
    }

    private static func flush(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        let address = GuestVirtual(frame.rsi)
        guard frame.rdi >= 1, frame.rdi <= 4, address.isCanonical else {
            return result(Failure.invalid, vcpu)
        }
        return result(of: flush(vcpu, kind: frame.rdi, address), vcpu)
    }

    private static func setRoots(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        result(of: vcpu.loadRoots(kernel: frame.rdi, user: frame.rsi), vcpu)
    }

    private static func dropFrame(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        guard frame.rdi < UInt64(vmPage.pointee.total_frames) else { return result(Failure.invalid, vcpu) }
        return result(of: vcpu.memory.dropFrame(GuestFrame(UInt32(frame.rdi))), vcpu)
    }

    // MARK: events and time

    private static func halt(_ vcpu: VCPU) -> Continuation {
        vcpu.frame.rax = 0
        return vcpu.halt()
    }

    private static func setTimer(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        vcpu.page.pointee.deadline = frame.rdi
        if vcpu.takeExpiredDeadline() { _ = timerExpired(vcpu) }
        vcpu.frame.rax = 0
        return vcpu.needsArming ? leaveAfterCall(vcpu, PENUMBRA_EXIT_TIMER) : vcpu.finishWithEvents()
    }

    /// An exit at the end of a hypercall; what the guest unmasked is looked at on return.
    private static func leaveAfterCall(_ vcpu: VCPU, _ reason: Int32, _ argument: UInt64 = 0) -> Continuation
    {
        vcpu.raiseAttention(PENUMBRA_ATTENTION_EVENT)
        return vcpu.leave(reason, argument)
    }

    private static func yield(_ vcpu: VCPU) -> Continuation {
        vcpu.frame.rax = 0
        return vcpu.leave(PENUMBRA_EXIT_SLICE)
    }

    private static func raise(_ port: UInt64, on vcpu: VCPU) {
        guard vcpu.state.pointee.info != 0 else { return }
        vcpu.setPending(port: port)
    }

    private static func send(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        guard frame.rdi > 0, frame.rdi < 64 else { return result(Failure.invalid, vcpu) }
        vcpu.frame.rax = 0
        guard let target = vcpu.other(Ports.vcpu(of: frame.rdi)) else {
            return leaveAfterCall(vcpu, PENUMBRA_EXIT_NOTIFY, frame.rdi)
        }
        raise(frame.rdi, on: target)
        if target.id == vcpu.id { return vcpu.finishWithEvents() }
        target.raiseAttention(PENUMBRA_ATTENTION_EVENT)
        return leaveAfterCall(vcpu, PENUMBRA_EXIT_KICK, 1 << UInt64(target.id))
    }

    private static func bind(_ vcpu: VCPU, _ frame: EntryFrame) -> UInt64 {
        guard frame.rdi > 0, frame.rdi < 64, vcpu.other(frame.rsi) != nil else { return Failure.invalid }
        Ports.bind(frame.rdi, to: UInt16(frame.rsi))
        return 0
    }

    static func timerExpired(_ vcpu: VCPU) -> UInt64 {
        raise(UInt64(PTEST_PORT_TIMER), on: vcpu)
        return 0
    }

    static func drainPosted(_ vcpu: VCPU) -> UInt64 {
        var mine = Ports.takePosted(for: vcpu.id, word: 0)
        while mine != 0 {
            raise(UInt64(mine.trailingZeroBitCount), on: vcpu)
            mine &= mine &- 1
        }
        return 0
    }

    // MARK: handlers

    private static func setHandler(_ vcpu: VCPU, _ frame: EntryFrame) -> UInt64 {
        guard frame.rdi < 256, frame.rdx & ~7 == 0,
            frame.rsi == 0 || vcpu.isGuestAddress(GuestVirtual(frame.rsi))
        else { return Failure.invalid }
        vcpu.setGate(frame.rdi, Gate(address: frame.rsi, flags: frame.rdx))
        return 0
    }

    private static func setCallback(_ vcpu: VCPU, _ frame: EntryFrame) -> UInt64 {
        guard frame.rsi == 0 || vcpu.isGuestAddress(GuestVirtual(frame.rsi)) else { return Failure.invalid }
        switch frame.rdi {
        case UInt64(PTEST_CALLBACK_EVENT): vcpu.state.pointee.eventCallback = frame.rsi
        case UInt64(PTEST_CALLBACK_SYSCALL):
            vcpu.state.pointee.syscallCallback = frame.rsi
            vcpu.state.pointee.syscall32Callback = frame.rsi
        default: return Failure.invalid
        }
        vcpu.refreshFastPaths()
        return 0
    }

    private static func setKernelStack(_ vcpu: VCPU, _ frame: EntryFrame) -> UInt64 {
        guard vcpu.isGuestAddress(GuestVirtual(frame.rdi)) else { return Failure.invalid }
        vcpu.state.pointee.kernelStack = frame.rdi
        vcpu.refreshFastPaths()
        return 0
    }

    private static func setDebugRegister(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        guard frame.rdi < 8, frame.rdi != 4, frame.rdi != 5 else { return result(Failure.invalid, vcpu) }
        if frame.rdi < 4 {
            // Never on the core: what it does there would raise #DB in ring 0.
            guard vcpu.isGuestAddress(GuestVirtual(frame.rsi)) else {
                return result(Failure.notPermitted, vcpu)
            }
        }
        let value = frame.rdi == 7 ? DebugControl(value: frame.rsi).sanitised.value : frame.rsi
        vcpu.setDebugRegister(frame.rdi, value)
        vcpu.frame.rax = 0
        // The module loads them on the way in.
        return leaveAfterCall(vcpu, PENUMBRA_EXIT_SLICE)
    }

    private static func setDescriptor(_ vcpu: VCPU, _ frame: EntryFrame) -> UInt64 {
        guard frame.rdi >= 4 else { return Failure.invalid }
        return vcpu.setGuestDescriptor(frame.rdi, frame.rsi) ? 0 : Failure.invalid
    }

    // MARK: the VMM

    private static func request(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        vcpu.run.pointee.data_length = 0
        return vcpu.ask(UInt64(PTEST_REQUEST_ADD), frame.rdi, frame.rsi)
    }

    private static func writeConsole(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        let count = min(frame.rsi, consoleLimit)
        let status = vcpu.memory.copyIn(
            to: vcpu.runData, from: GuestVirtual(frame.rdi), count: UInt(count), mode: .kernel)
        guard case .done = status, count > 0 else { return result(of: status, vcpu) }
        vcpu.run.pointee.data_length = UInt32(count)
        return vcpu.ask(UInt64(PTEST_REQUEST_CONSOLE), count, 0)
    }

    static func answered(_ vcpu: VCPU, _ result: UInt64) {
        vcpu.frame.rax = result
    }

    // MARK: vCPUs

    /// (id, rip, rsp, argument, root, info): the target comes through `VCPU.start`.
    private static func startVCPU(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        guard let target = vcpu.other(frame.rdi), target.id != vcpu.id else {
            return result(Failure.noEntry, vcpu)
        }
        guard target.advance(from: .blank, to: .claimed) else { return result(Failure.exists, vcpu) }
        target.page.pointee.start.rip = frame.rsi
        target.page.pointee.start.rsp = frame.rdx
        target.page.pointee.start.rdi = frame.r10
        target.page.pointee.start.rsi = 0
        target.page.pointee.start.root_frame = frame.r8
        target.page.pointee.start.info_address = frame.r9
        target.state.pointee.awaitsStart = true
        target.settle(as: .up)
        target.raiseAttention(PENUMBRA_ATTENTION_EVENT)
        vcpu.frame.rax = 0
        return leaveAfterCall(vcpu, PENUMBRA_EXIT_KICK, 1 << UInt64(target.id))
    }

    // MARK: debug cores

    private static func plant(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        #if PENUMBRA_DEBUG
            if frame.rdi == UInt64(PTEST_PLANT_INVARIANT) {
                return result(plantBrokenInvariant(vcpu.memory) ? 0 : Failure.noEntry, vcpu)
            }
            plantBug(frame.rdi)
            return result(Failure.invalid, vcpu)
        #else
            return result(Failure.unknown, vcpu)
        #endif
    }

    private static func limitPool(_ vcpu: VCPU, _ frame: EntryFrame) -> Continuation {
        #if PENUMBRA_DEBUG
            vcpu.memory.limitPool(UInt32(clamping: frame.rdi))
            return result(0, vcpu)
        #else
            return result(Failure.unknown, vcpu)
        #endif
    }

    // MARK: what this personality leaves to the machinery

    static func exception(_ vcpu: VCPU, vector: UInt64, error: UInt64) -> Continuation? { nil }
    static func readPort(_ port: UInt16) -> UInt64 { .max }
    static func readModelRegister(_ vcpu: VCPU, _ register: UInt32) -> UInt64? { nil }
    static func writeModelRegister(_ vcpu: VCPU, _ register: UInt32, _ value: UInt64) -> Bool { false }
    static func prepareStart(_ vcpu: VCPU) -> MemoryStatus { .done }
    static func started(_ vcpu: VCPU) {}
    static func noteStolenTime(_ vcpu: VCPU) -> MemoryStatus {
        vcpu.state.pointee.stolenTime = vcpu.page.pointee.stolen_time
        return .done
    }
}
