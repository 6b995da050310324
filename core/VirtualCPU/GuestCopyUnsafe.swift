// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Small fixed-size records copied between the core's stack and guest memory. The pointers
// live for one call, and `bytes` never exceeds the record.
//
// While the guest kernel's root is loaded, the processor's own walk of the shadows finds most
// of them: a copy by guest address, with the rights that the guest itself has. Where that
// faults, and wherever it is not allowed, THE walker does it (Memory/GuestMemory.swift).

import CCore
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
    /// Whether the guest kernel's root is what CR3 names, with nothing owed to the TLB, and the
    /// range is the guest's: it begins there, and ends under the same entry of the root.
    @inline(__always)
    private func isReachable(_ address: GuestVirtual, _ bytes: UInt) -> Bool {
        let end = address.value &+ UInt64(bytes)
        return page.pointee.cr3_core == 0 && mode == .kernel && !memory.owesFlush
            && isGuestAddress(address) && (address.value ^ end) >> Level.four.shift == 0
    }

    @inline(__always) private var smap: UInt32 { vmPage.pointee.flags & UInt32(PENUMBRA_VM_SMAP) }

    /// Both directions use the guest kernel's tables.
    @inline(__always)
    func copyOut<Record>(_ record: inout Record, to address: GuestVirtual, bytes: UInt) -> MemoryStatus {
        precondition(bytes <= UInt(MemoryLayout<Record>.size))
        return withUnsafeBytes(of: &record) { copyOut(UInt(bitPattern: $0.baseAddress), to: address, bytes) }
    }

    /// The frame of a page fault in guest user mode with events unmasked, from the entry frame:
    /// to a stack that was checked against the hole, with the guest kernel's root loaded and
    /// nothing owed to the TLB. False if that faults.
    @inline(__always)
    func pushFault(_ error: PageFaultError, at address: UInt64) -> Bool {
        ccore_guest_push_fault(address, UInt64(UInt(bitPattern: page)), UInt64(error.rawValue), smap)
    }

    /// A record by guest address alone; false where only the walker can tell.
    @inline(__always)
    func copyDirectly<Record>(_ record: inout Record, from address: GuestVirtual) -> Bool {
        let bytes = UInt(MemoryLayout<Record>.size)
        return isReachable(address, bytes)
            && withUnsafeMutableBytes(of: &record) {
                ccore_guest_copy(
                    UInt64(UInt(bitPattern: $0.baseAddress)), address.value, UInt64(bytes), smap)
            }
    }

    @inline(never)
    private func copyOut(_ core: UInt, to address: GuestVirtual, _ bytes: UInt) -> MemoryStatus {
        if isReachable(address, bytes), ccore_guest_copy(address.value, UInt64(core), UInt64(bytes), smap) {
            return .done
        }
        return memory.copyOut(to: address, from: core, count: bytes, mode: .kernel)
    }

    @inline(never)
    private func copyIn(_ core: UInt, from address: GuestVirtual, _ bytes: UInt) -> MemoryStatus {
        if isReachable(address, bytes), ccore_guest_copy(UInt64(core), address.value, UInt64(bytes), smap) {
            return .done
        }
        return memory.copyIn(to: core, from: address, count: bytes, mode: .kernel)
    }

    @inline(__always)
    func copyIn<Record>(_ record: inout Record, from address: GuestVirtual, bytes: UInt? = nil)
        -> MemoryStatus
    {
        let count = bytes ?? UInt(MemoryLayout<Record>.size)
        precondition(count <= UInt(MemoryLayout<Record>.size))
        return withUnsafeMutableBytes(of: &record) {
            copyIn(UInt(bitPattern: $0.baseAddress), from: address, count)
        }
    }
}
