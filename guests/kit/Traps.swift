// SPDX-License-Identifier: Apache-2.0
// Entries from the core: who handles what.
import CKit

typealias Frame = UnsafeMutablePointer<penumbra_frame>

enum Flags {
    static let trap: UInt64 = 0x100
    static let interrupt: UInt64 = 0x200
    static let direction: UInt64 = 0x400
    static let resume: UInt64 = 0x10000
    static let alignment: UInt64 = 0x40000
    static let identification: UInt64 = 0x200000
}

/// A guest's own handler for a vector, a system call or an event; nil: the kit's.
func setTrapHandler(_ index: Int32, _ handler: @convention(c) (Frame?) -> Void) {
    kit_set_handler(UInt64(index), handler)
}

@_cdecl("kit_trap")
func kitTrap(_ frame: Frame) {
    let index = frame.pointee.vector
    if let handler = kit_handler_at(index) {
        handler(frame)
    } else if index == UInt64(KIT_VECTOR_EVENT) {
        Events.collect()
    } else if index == UInt64(KIT_VECTOR_SYSCALL) {
        serveSystemCall(frame)
    } else if frame.pointee.r15 == UInt64(KIT_PROBE_MAGIC) {
        leaveProbe(frame)
    } else {
        unexpected(frame)
    }
}

/// Notes what the probed instruction met and goes on behind it.
func leaveProbe(_ frame: Frame) {
    let trap = UnsafeMutablePointer<kit_trap>(bitPattern: UInt(frame.pointee.r13))!
    trap.pointee.taken = 1
    trap.pointee.vector = frame.pointee.vector
    trap.pointee.error = frame.pointee.error
    trap.pointee.rip = frame.pointee.rip
    trap.pointee.cs = frame.pointee.cs
    trap.pointee.rflags = frame.pointee.rflags
    trap.pointee.rsp = frame.pointee.rsp
    trap.pointee.ss = frame.pointee.ss
    trap.pointee.cr2 = Info.cr2
    frame.pointee.rip = frame.pointee.r14
    // A refused iret left selectors here that would be refused again.
    frame.pointee.cs = UInt64(PENUMBRA_SEL_GUEST_CS) & ~3 | frame.pointee.cs & 3
    frame.pointee.ss = UInt64(PENUMBRA_SEL_GUEST_SS)
    frame.pointee.rflags &= ~(Flags.trap | Flags.alignment)
}

func serveSystemCall(_ frame: Frame) {
    switch frame.pointee.rax {
    case UInt64(KIT_SYSCALL_EXIT):
        kit_user_leave(frame.pointee.rdi, kit_cpu_at(kit_cpu_id())!.pointee.user_call_stack)
    case UInt64(KIT_SYSCALL_NEXT):
        frame.pointee.rax = frame.pointee.rdi &+ 1
    default:
        unexpected(frame)
    }
}

func unexpected(_ frame: Frame) -> Never {
    put("FAIL: unexpected vector ")
    put(decimal: frame.pointee.vector)
    put(" error ")
    put(hex: frame.pointee.error)
    put(" rip ")
    put(hex: frame.pointee.rip)
    put(" cs ")
    put(hex: frame.pointee.cs)
    put(" rsp ")
    put(hex: frame.pointee.rsp)
    put(" cr2 ")
    put(hex: Info.cr2)
    fail("")
}

/// Runs one instruction of probes.h in the guest kernel.
func probe(_ instruction: kit_probe, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0) -> Probe {
    var result = Probe()
    result.value = instruction(&result.trap, a, b, c)
    return result
}

/// The same in guest user mode.
func userProbe(_ instruction: kit_probe, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0) -> Probe {
    let record = kit_stack_area(kit_cpu_id())
    let trap = UnsafeMutablePointer<kit_trap>(bitPattern: UInt(record))!
    trap.pointee = kit_trap()
    let value = enterUser(kit_probe_address(instruction), (record, a, b, c))
    return Probe(trap: trap.pointee, value: value)
}

struct Probe {
    var trap = kit_trap()
    var value: UInt64 = 0

    /// The instruction did not trap.
    func passes(_ message: StaticString) {
        if trap.taken != 0 {
            describe()
            check(false, message)
        }
    }

    /// It did: with this vector and error code, and RIP on the instruction (`length` behind
    /// it, for traps).
    func traps(_ vector: UInt64, _ error: UInt64, length: UInt64 = 0, _ message: StaticString) {
        if trap.taken != 1 || trap.vector != vector || trap.error != error
            || trap.rip != trap.expected + length
        {
            describe()
            check(false, message)
        }
    }

    /// A page fault on `address`.
    func faults(_ address: UInt64, _ error: UInt64, _ message: StaticString) {
        traps(14, error, message)
        equal(trap.cr2, address, message)
    }

    /// A page fault on `address`, where nothing is present, by a locked instruction. The processor
    /// reports a write; QEMU's TCG with one CPU loads first and reports that.
    func faultsLocked(_ address: UInt64, _ error: UInt64, _ message: StaticString) {
        faults(address, error | trap.error & Fault.write, message)
    }

    /// A page fault on the fetch from `address`.
    func fetchFaults(_ address: UInt64, _ error: UInt64, _ message: StaticString) {
        if trap.taken != 1 || trap.vector != 14 || trap.error != error || trap.rip != address {
            describe()
            check(false, message)
        }
        equal(trap.cr2, address, message)
    }

    private func describe() {
        put("taken ")
        put(decimal: trap.taken)
        put(" vector ")
        put(decimal: trap.vector)
        put(" error ")
        put(hex: trap.error)
        put(" rip ")
        put(hex: trap.rip)
        put(" of ")
        put(hex: trap.expected)
        put(" cr2 ")
        put(hex: trap.cr2)
        endLine()
    }
}
