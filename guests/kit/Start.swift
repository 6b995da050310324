// SPDX-License-Identifier: Apache-2.0
// What happens before the guest's own guestMain(), and PASS after it.
import CKit

/// What the VMM left for the guest.
nonisolated(unsafe) private(set) var vm = ptest_start()

@_cdecl("kit_main")
func kitMain(_ area: UnsafePointer<ptest_start>) {
    vm = area.pointee
    if vm.magic != kit_start_magic {
        exitGuest(3)
    }
    Info.mask = true
    installEntries()
    Frames.initialise()
}

/// guestMain() has returned: all its checks held.
@_cdecl("kit_pass")
func kitPass() {
    printLine("PASS")
    exitGuest(0)
}

/// Every exception to its stub; INT n works for the guest kernel with all of them, and for
/// user code with #BP and #OF, as an operating system sets them.
func installEntries() {
    for vector: UInt64 in 0..<32 {
        let user = vector == 3 || vector == 4
        setGate(vector, user ? UInt64(PTEST_GATE_USER) : 1)
    }
    equal(
        hypercall(
            PTEST_SET_CALLBACK, UInt64(PTEST_CALLBACK_EVENT), kit_function_address(kit_event_entry)), 0,
        "event callback")
    equal(
        hypercall(
            PTEST_SET_CALLBACK, UInt64(PTEST_CALLBACK_SYSCALL), kit_function_address(kit_syscall_entry)),
        0, "system call callback")
    setKernelStack(entryStackTop)
}

func setGate(_ vector: UInt64, _ flags: UInt64) {
    equal(hypercall(PTEST_SET_HANDLER, vector, kit_vector_entry(vector), flags), 0, "set handler")
}

func setKernelStack(_ top: UInt64) {
    equal(hypercall(PTEST_SET_KERNEL_STACK, top), 0, "set kernel stack")
}

/// Where this vCPU's entries from user mode find their stack.
var entryStackTop: UInt64 { kit_stack_area(kit_cpu_id()) + UInt64(KIT_ENTRY_STACK_TOP) }

/// Byte of the command line, 0 behind its end.
func argumentByte(_ index: Int) -> UInt8 {
    withUnsafeBytes(of: &vm.command_line) { index < $0.count ? $0[index] : 0 }
}

/// The command line as a decimal number, or `fallback` if it is none.
func numericArgument(or fallback: UInt64) -> UInt64 {
    var value: UInt64 = 0
    var index = 0
    while argumentByte(index) >= 48 && argumentByte(index) <= 57 {
        value = value &* 10 &+ UInt64(argumentByte(index) - 48)
        index += 1
    }
    return index == 0 ? fallback : value
}
