// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Exceptions that the guest raised: resolved, emulated, or injected into its kernel.

import CPenumbra

/// One instruction's same one or two faults this often, with nothing injected and no other entry in
/// between, never end.
private var faultLoopLimit: UInt32 { 10_000 }

enum Exceptions<P: Personality> {
    @inline(__always)
    static func handle(_ vcpu: VCPU) -> Continuation {
        let vector = vcpu.frame.vector
        if vector == Vector.pageFault { return pageFault(vcpu) }
        return other(vcpu, vector)
    }

    // MARK: page faults

    @inline(__always)
    private static func pageFault(_ vcpu: VCPU) -> Continuation {
        let address = Processor.faultAddress
        let error = PageFaultError(rawValue: UInt32(truncatingIfNeeded: vcpu.frame.error))
        switch vcpu.memory.decideAtOnce(GuestVirtual(address), error, mode: vcpu.mode) {
        case .filled: return vcpu.finish()
        case .refused(let error):
            vcpu.state.pointee.lastFaultRIP = vcpu.frame.rip
            return vcpu.injectPageFault(address, error)
        case .open: return resolve(vcpu, address, error)
        }
    }

    @inline(never)
    private static func resolve(_ vcpu: VCPU, _ address: UInt64, _ error: PageFaultError) -> Continuation {
        let isRepeated = vcpu.frame.rip == vcpu.state.pointee.lastFaultRIP
        if isRepeated { countRepetition(vcpu, address) } else { vcpu.state.pointee.repeatedFaults = 0 }
        if vcpu.state.pointee.repeatedFaults > faultLoopLimit {
            return vcpu.kill(PENUMBRA_CRASH_FAULT_LOOP, detail: address)
        }
        note(vcpu, address)
        let status = vcpu.memory.resolveFault(
            GuestVirtual(address), error, mode: vcpu.mode, isRepeated: isRepeated)
        switch status {
        case .done:
            return vcpu.finish()
        case .guestFault(let error):
            return vcpu.injectPageFault(address, error)
        case .notCanonical:
            return vcpu.inject(Vector.generalProtection, error: 0, redo: .instruction)
        case .tableWrite:
            return .completeTableWrite
        case .refused:
            return vcpu.kill(PENUMBRA_CRASH_BAD_ROOT)
        case let status:
            return vcpu.leave(for: status, redo: .instruction)
        }
    }

    /// Of a loop over many pages each fault has a new address; code and operand that take each other's
    /// mappings away have two.
    @inline(__always)
    private static func countRepetition(_ vcpu: VCPU, _ address: UInt64) {
        let state = vcpu.state
        let isKnown =
            state.pointee.lastFaultAddress == address || state.pointee.earlierFaultAddress == address
        state.pointee.repeatedFaults = isKnown ? state.pointee.repeatedFaults &+ 1 : 0
    }

    @inline(__always)
    private static func note(_ vcpu: VCPU, _ address: UInt64) {
        let state = vcpu.state
        if state.pointee.lastFaultAddress != address {
            state.pointee.earlierFaultAddress = state.pointee.lastFaultAddress
            state.pointee.lastFaultAddress = address
        }
        state.pointee.lastFaultRIP = vcpu.frame.rip
    }

    // MARK: all others

    @inline(never)
    private static func other(_ vcpu: VCPU, _ vector: UInt64) -> Continuation {
        vcpu.state.pointee.repeatedFaults = 0
        let error = vcpu.frame.error
        if vector == Vector.debug { recordDebugStatus(vcpu) }
        if vector == Vector.generalProtection { return generalProtection(vcpu, error) }
        if let taken = P.exception(vcpu, vector: vector, error: error) { return taken }
        return vcpu.inject(vector, error: error, redo: .instruction)
    }

    /// DR6 accumulates until the guest clears it.
    private static func recordDebugStatus(_ vcpu: VCPU) {
        let hits = Processor.takeDebugStatus() & 0xe00f
        vcpu.setDebugRegister(6, vcpu.debugRegister(6) | hits)
    }

    private static func generalProtection(_ vcpu: VCPU, _ error: UInt64) -> Continuation {
        let isGate = SelectorError(value: error).refersToIDT
        guard isGate || (error == 0 && vcpu.mode == .kernel) else {
            return vcpu.inject(Vector.generalProtection, error: error, redo: .instruction)
        }
        var bytes = InstructionBytes()
        switch vcpu.fetchInstruction(&bytes) {
        case .done: break
        case .guestFault, .notCanonical, .refused:
            return vcpu.inject(Vector.generalProtection, error: error, redo: .instruction)
        case let status:
            return vcpu.leave(for: status, redo: .instruction)
        }
        return isGate ? softwareInterrupt(vcpu, bytes, error) : privileged(vcpu, bytes)
    }

    /// INT n, decoded: emulators differ in the error code that a refused gate gives.
    private static func softwareInterrupt(
        _ vcpu: VCPU, _ bytes: InstructionBytes, _ error: UInt64
    ) -> Continuation {
        guard let instruction = DecodedInstruction(bytes), !instruction.isTwoByte,
            instruction.opcode == 0xcd
        else { return vcpu.inject(Vector.generalProtection, error: error, redo: .instruction) }
        let vector = UInt64(bytes.byte(instruction.length))
        let gate = vcpu.gate(vector)
        guard gate.address != 0, gate.allowsSoftware(from: vcpu.mode) else {
            let refused = SelectorError.gate(vector).value
            return vcpu.inject(Vector.generalProtection, error: refused, redo: .instruction)
        }
        let length = UInt64(instruction.length) + 1
        vcpu.frame.rip &+= length
        vcpu.count(PENUMBRA_COUNTER_exceptions_injected)
        let delivery = Delivery(handler: gate.address, masksEvents: gate.masksEvents)
        let continuation = vcpu.deliver(delivery, redo: .attention(PENUMBRA_ATTENTION_EVENT))
        // Left for memory: the INT itself is executed again.
        if vcpu.frame.rip != gate.address { vcpu.frame.rip &-= length }
        return continuation
    }

    private static func privileged(_ vcpu: VCPU, _ bytes: InstructionBytes) -> Continuation {
        switch vcpu.emulate(bytes, for: P.self) {
        case .done(let length):
            vcpu.count(PENUMBRA_COUNTER_emulations)
            vcpu.frame.rip &+= length
            return vcpu.finishWithEvents()
        case .halt(let length):
            vcpu.count(PENUMBRA_COUNTER_emulations)
            vcpu.frame.rip &+= length
            return vcpu.halt()
        case .fault:
            return vcpu.inject(Vector.generalProtection, error: 0, redo: .instruction)
        }
    }
}
