// SPDX-License-Identifier: Apache-2.0
// Each exception of guest kernel and guest user reaches the guest's handler with its vector,
// error code, RIP and mode exact, and the registers intact; INT n goes where the gates allow
// and is #GP(8n+2) elsewhere, whatever the emulator below says.
// Attack: instructions
// Expect: exit 0
import CKit

let nonCanonical: UInt64 = 0x8000_0000_0000_0000

/// Probes in one of the modes.
struct Mode {
    let user: Bool

    func run(_ instruction: kit_probe, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0) -> Probe {
        user ? userProbe(instruction, a, b, c) : probe(instruction, a, b, c)
    }

    /// The frame tells the mode, and the stack that the mode was on.
    func matches(_ trap: kit_trap) {
        let bits = trap.cs & 0xffff
        equal(bits, UInt64(PENUMBRA_SEL_GUEST_CS) & (user ? ~0 : ~3), "CS in the frame")
        equal(trap.ss & ~3, UInt64(PENUMBRA_SEL_GUEST_SS) & ~3, "SS in the frame")
        let base = kit_stack_area(0)
        let top = base + UInt64(user ? KIT_USER_STACK_TOP : KIT_KERNEL_STACK_TOP)
        check(trap.rsp > base && trap.rsp < top, "RSP in the frame")
        check(trap.rflags & Flags.interrupt == 0, "RFLAGS.IF says that events are masked")
    }
}

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    equal(hypercall(PTEST_SET_HANDLER, 0x80, kit_vector_entry(0x80), UInt64(PTEST_GATE_USER)), 0, "gate 0x80")
    equal(hypercall(PTEST_SET_HANDLER, 0x81, kit_vector_entry(0x81), 1), 0, "gate 0x81")
    for user in 0..<2 {
        let mode = Mode(user: user == 1)
        faults(mode)
        traps(mode)
        softwareInterrupts(mode)
        coprocessor(mode)
    }
    userProbe(kit_probe_int0x81).traps(13, 0x81 * 8 + 2, "INT of a kernel gate by user code")
    userProbe(kit_probe_int14).traps(13, 14 * 8 + 2, "INT 14 by user code")
    userProbe(kit_probe_int2).traps(13, 2 * 8 + 2, "INT 2 by user code")
    probe(kit_probe_int0x81).traps(0x81, 0, length: 2, "INT of a kernel gate by the kernel")
    registers()
}

func faults(_ mode: Mode) {
    let divide = mode.run(kit_probe_divide, 1, 0, 0)
    divide.traps(0, 0, "#DE")
    mode.matches(divide.trap)
    mode.run(kit_probe_divide, 0, 5, 5).traps(0, 0, "#DE by overflow")
    mode.run(kit_probe_ud2).traps(6, 0, "#UD")
    mode.run(kit_probe_load, nonCanonical).traps(13, 0, "#GP, non-canonical load")
    mode.run(kit_probe_store, nonCanonical).traps(13, 0, "#GP, non-canonical store")
    // Emulators give #GP here, too.
    let stack = mode.run(kit_probe_stack_load, nonCanonical)
    stack.traps(stack.trap.vector == 13 ? 13 : 12, 0, "#SS, non-canonical by RSP")
    let absent = testArea + 0x7f_0000_0000
    let page = mode.run(kit_probe_load, absent)
    page.faults(absent, mode.user ? Fault.user : 0, "#PF")
    mode.matches(page.trap)
}

func traps(_ mode: Mode) {
    let breakpoint = mode.run(kit_probe_breakpoint)
    breakpoint.traps(3, 0, length: 1, "#BP")
    mode.matches(breakpoint.trap)
    hypercall(PTEST_SET_DEBUGREG, 6, 0)
    let step = mode.run(kit_probe_single_step)
    step.traps(1, 0, length: 1, "#DB, single step")
    check(step.trap.rflags & Flags.trap != 0, "RFLAGS in the frame has TF")
    check(hypercall(PTEST_GET_DEBUGREG, 6) & 1 << 14 != 0, "DR6.BS")
    mode.run(kit_probe_nop).passes("no step without TF")
    // Emulators leave #AC out; a CPU must get it right.
    let misaligned = mode.run(kit_probe_misaligned)
    if misaligned.trap.taken == 1 {
        misaligned.traps(17, 0, "#AC")
    }
}

func softwareInterrupts(_ mode: Mode) {
    mode.run(kit_probe_int3).traps(3, 0, length: 2, "INT 3")
    mode.run(kit_probe_int4).traps(4, 0, length: 2, "INT 4")
    mode.run(kit_probe_int0x80).traps(0x80, 0, length: 2, "INT 0x80")
}

func coprocessor(_ mode: Mode) {
    mode.run(kit_probe_x87_error).traps(16, 0, "#MF")
    mode.run(kit_probe_x87_reset).passes("x87 reset")
    // Emulators leave #XM out.
    let sse = mode.run(kit_probe_sse_error)
    if sse.trap.taken == 1 {
        sse.traps(19, 0, "#XM")
    }
    mode.run(kit_probe_sse_reset).passes("MXCSR reset")
}

@_silgen_name("exceptions_registers_address") func registersAddress() -> UInt64

/// All registers through a fault and back, in user mode, with events masked and not.
func registers() {
    setTrapHandler(6) { frame in
        let frame = frame!
        equal(frame.pointee.rax, 0x1111, "RAX in the frame")
        equal(frame.pointee.rcx, 0x3333, "RCX in the frame")
        equal(frame.pointee.r11, 0xbbbb, "R11 in the frame")
        equal(frame.pointee.r15, 0xffff, "R15 in the frame")
        equal(frame.pointee.rflags & Flags.direction, Flags.direction, "DF in the frame")
        let interrupt = frame.pointee.rflags & Flags.interrupt != 0
        check(interrupt == (expectedIF != 0), "IF in the frame is the event mask, inverted")
        frame.pointee.rip += 2
    }
    for masked: UInt64 in 0..<2 {
        Info.mask = masked == 1
        expectedIF = 1 - masked
        equal(enterUser(registersAddress(), (0, 0, 0, 0)), 0, "registers after a fault")
        check(Info.mask == (masked == 1), "the event mask after a user call")
    }
}

nonisolated(unsafe) var expectedIF: UInt64 = 0
