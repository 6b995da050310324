// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Native stores of a guest kernel to its read-only tables (MemoryPolicy,
// tablesWritableThroughReadOnly). One alone, such as the exchange of a copy-on-write fault, is
// done here and rendered at once; the second to the same table without a flush in between is
// the start of many, as in fork, and unsyncs the table (Memory/Unsync.swift).
//
// The fault gave the address, so only the operation and the length of the addressing form are
// decoded. What is not known below unsyncs too.

import CPenumbra

/// An instruction that stores to memory, as far as tables see it: new = old & keep | set.
private struct StoreInstruction {
    enum Effect {
        case plain
        /// The old value goes into that register.
        case exchange(UInt8)
        /// CF becomes the old value of that bit.
        case bit(UInt64)
        /// SF, ZF and PF follow the new value of that many bytes; CF and OF are cleared.
        case logic(UInt64)
    }

    var keep: UInt64
    var set: UInt64
    var effect: Effect
    var length: UInt64
}

extension VCPU {
    /// Does the store that the last page fault stopped, or lets the guest do it.
    func finishTableWrite() -> Continuation {
        let address = GuestVirtual(state.pointee.lastFaultAddress)
        var bytes = InstructionBytes()
        switch fetchInstruction(&bytes) {
        case .done: break
        case .guestFault, .notCanonical, .refused: return unsyncTable(address)
        case let status: return leave(for: status, redo: .instruction)
        }
        guard let store = decodeStore(bytes, address) else { return unsyncTable(address) }
        var old: UInt64 = 0
        let status = memory.writeTable(at: address, keeping: store.keep, setting: store.set, old: &old)
        switch status {
        case .done:
            apply(store, old, shift: (address.value & 7) * 8)
            frame.rip &+= store.length
            state.pointee.repeatedFaults = 0
            count(PENUMBRA_COUNTER_emulations)
            return finish()
        // What the fault saw has changed: the guest tries again.
        case .guestFault, .notCanonical, .refused, .tableWrite: return finish()
        default: return leave(for: status, redo: .instruction)
        }
    }

    private func unsyncTable(_ address: GuestVirtual) -> Continuation {
        let status = memory.fault(address, .write, mode: .kernel, unsyncs: true)
        switch status {
        case .done, .guestFault, .notCanonical, .refused, .tableWrite: return finish()
        default: return leave(for: status, redo: .instruction)
        }
    }

    // MARK: - What it does to registers

    private func apply(_ store: StoreInstruction, _ old: UInt64, shift: UInt64) {
        switch store.effect {
        case .plain: break
        case .exchange(let number): setRegister(number, old)
        case .bit(let index):
            frame.rflags = frame.rflags & ~Flags.carry | old >> index & 1
        case .logic(let size):
            let value = (old & store.keep | store.set) >> shift
            setLogicFlags(size == 8 ? value : value & (1 << (size * 8) - 1), sign: size * 8 - 1)
        }
    }

    private func setLogicFlags(_ value: UInt64, sign: UInt64) {
        var flags = frame.rflags & ~(Flags.carry | Flags.overflow | Flags.zero | Flags.sign | Flags.parity)
        if value == 0 { flags |= Flags.zero }
        if value >> sign & 1 != 0 { flags |= Flags.sign }
        var ones: UInt64 = 0
        for bit in 0..<8 as Range<UInt64> { ones ^= value >> bit & 1 }
        if ones == 0 { flags |= Flags.parity }
        frame.rflags = flags
    }

    // MARK: - Decoding (Intel SDM vol. 2, 2.1 and appendix A)

    private func decodeStore(_ bytes: InstructionBytes, _ address: GuestVirtual) -> StoreInstruction? {
        var length = 0
        while bytes.byte(length) == 0xf0 { length += 1 }  // LOCK: all of these are atomic here
        let rex = bytes.byte(length) & 0xf0 == 0x40 ? bytes.byte(length) : 0
        if rex != 0 { length += 1 }
        let isTwoByte = bytes.byte(length) == 0x0f
        if isTwoByte { length += 1 }
        let opcode = bytes.byte(length)
        let form = bytes.byte(length + 1)
        guard form < 0xc0, let operand = operandLength(bytes, length + 1) else { return nil }
        let end = length + 1 + operand
        guard end <= 11 else { return nil }
        let number = form >> 3 & 7
        let shift = (address.value & 7) * 8
        if isTwoByte {
            guard opcode == 0xba, number == 5 || number == 6 else { return nil }
            return bitStore(bytes.byte(end), number == 5, rex & 8 != 0, shift, UInt64(end + 1))
        }
        if opcode == 0x80 {
            return byteStore(bytes.byte(end), number, shift, UInt64(end + 1))
        }
        guard rex & 8 != 0, shift == 0 else { return nil }
        return wordStore(bytes, opcode, number | (rex & 4) << 1, end)
    }

    /// ModRM, SIB and displacement: how many bytes.
    private func operandLength(_ bytes: InstructionBytes, _ start: Int) -> Int? {
        let form = bytes.byte(start)
        let mode = form >> 6
        let hasSIB = form & 7 == 4
        var length = hasSIB ? 2 : 1
        if mode == 1 { length += 1 }
        let isWide = mode == 2 || mode == 0 && (hasSIB ? bytes.byte(start + 1) & 7 == 5 : form & 7 == 5)
        if isWide { length += 4 }
        return length
    }

    /// bts, btr with an immediate.
    private func bitStore(
        _ immediate: UInt8, _ sets: Bool, _ isWide: Bool, _ shift: UInt64, _ length: UInt64
    ) -> StoreInstruction? {
        let index = UInt64(immediate & (isWide ? 63 : 31)) + shift
        guard index < 64, !isWide || shift == 0 else { return nil }
        let bit: UInt64 = 1 << index
        return StoreInstruction(keep: ~bit, set: sets ? bit : 0, effect: .bit(index), length: length)
    }

    /// or, and of a byte with an immediate.
    private func byteStore(
        _ immediate: UInt8, _ number: UInt8, _ shift: UInt64, _ length: UInt64
    ) -> StoreInstruction? {
        let value = UInt64(immediate) << shift
        if number == 1 {
            return StoreInstruction(keep: ~0, set: value, effect: .logic(1), length: length)
        }
        guard number == 4 else { return nil }
        return StoreInstruction(keep: value | ~(0xff << shift), set: 0, effect: .logic(1), length: length)
    }

    /// xchg, mov, or, and of eight bytes.
    private func wordStore(
        _ bytes: InstructionBytes, _ opcode: UInt8, _ number: UInt8, _ end: Int
    ) -> StoreInstruction? {
        switch opcode {
        case 0x87:
            return StoreInstruction(
                keep: 0, set: register(number), effect: .exchange(number), length: UInt64(end))
        case 0x89:
            return StoreInstruction(keep: 0, set: register(number), effect: .plain, length: UInt64(end))
        case 0x09:
            return StoreInstruction(keep: ~0, set: register(number), effect: .logic(8), length: UInt64(end))
        case 0x21:
            return StoreInstruction(keep: register(number), set: 0, effect: .logic(8), length: UInt64(end))
        case 0xc7 where number & 7 == 0:
            var value: UInt64 = 0
            for index in 0..<4 as Range<Int> { value |= UInt64(bytes.byte(end + index)) << UInt64(8 * index) }
            let extended = UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: value)))
            return StoreInstruction(keep: 0, set: extended, effect: .plain, length: UInt64(end + 4))
        default: return nil
        }
    }
}
