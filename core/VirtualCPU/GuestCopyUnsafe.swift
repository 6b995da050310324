// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Small fixed-size records copied between the core's stack and guest memory. The pointers
// live for one call, and `bytes` never exceeds the record.

import CPenumbra

/// A frame as it goes onto a guest's stack: w2... with or without an error code in front.
struct InjectedFrame {
    var rcx: UInt64 = 0
    var r11: UInt64 = 0
    var w2: UInt64 = 0
    var w3: UInt64 = 0
    var w4: UInt64 = 0
    var w5: UInt64 = 0
    var w6: UInt64 = 0
    var w7: UInt64 = 0
}

/// The frame that the iret hypercall takes.
struct ReturnFrame {
    var rax: UInt64 = 0
    var r11: UInt64 = 0
    var rcx: UInt64 = 0
    var flags: UInt64 = 0
    var rip: UInt64 = 0
    var cs: UInt64 = 0
    var rflags: UInt64 = 0
    var rsp: UInt64 = 0
    var ss: UInt64 = 0
}

/// One request of an update hypercall.
struct UpdateRequest {
    var address: UInt64 = 0
    var value: UInt64 = 0
}

/// The bytes of one instruction, at most 15 (Intel SDM vol. 2, 2.3.11).
struct InstructionBytes {
    var low: UInt64 = 0
    var high: UInt64 = 0

    /// Byte `index`, 0 beyond what was read.
    func byte(_ index: Int) -> UInt8 {
        let word = index < 8 ? low : high
        return index < 16 ? UInt8(truncatingIfNeeded: word >> (8 * UInt64(index & 7))) : 0
    }
}

extension VCPU {
    /// Both directions use the guest kernel's tables.
    func copyOut<Record>(_ record: inout Record, to address: GuestVirtual, bytes: UInt) -> MemoryStatus {
        precondition(bytes <= UInt(MemoryLayout<Record>.size))
        return withUnsafeBytes(of: &record) {
            memory.copyOut(
                to: address, from: UInt(bitPattern: $0.baseAddress), count: bytes, mode: .kernel)
        }
    }

    func copyIn<Record>(_ record: inout Record, from address: GuestVirtual, bytes: UInt? = nil)
        -> MemoryStatus
    {
        let count = bytes ?? UInt(MemoryLayout<Record>.size)
        precondition(count <= UInt(MemoryLayout<Record>.size))
        return withUnsafeMutableBytes(of: &record) {
            memory.copyIn(
                to: UInt(bitPattern: $0.baseAddress), from: address, count: count, mode: .kernel)
        }
    }
}
