// SPDX-License-Identifier: Apache-2.0
// Guest user mode.
import CKit

/// Gives user mode a root of its own, which shares the lower half with the kernel's.
@discardableResult
func makeUserRoot() -> UInt64 {
    let root = Tables.makeRoot(sharing: vm.root_frame)
    equal(setRoots(kernel: vm.root_frame, user: root), 0, "set roots")
    return root
}

typealias UserFunction = @convention(c) (UInt64, UInt64, UInt64, UInt64) -> UInt64

/// Calls `function` in user mode; the event mask stays as it is, there and afterwards.
/// There it can make system calls, no hypercalls: so it neither prints nor checks.
func callUser(
    _ function: UserFunction, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0, _ d: UInt64 = 0
) -> UInt64 {
    enterUser(UInt64(UInt(bitPattern: unsafeBitCast(function, to: UnsafeRawPointer.self))), (a, b, c, d))
}

func enterUser(_ function: UInt64, _ arguments: (UInt64, UInt64, UInt64, UInt64)) -> UInt64 {
    let cpu = kit_cpu_at(kit_cpu_id())!
    let stack = kit_stack_area(kit_cpu_id()) + UInt64(KIT_USER_STACK_TOP) - 24
    kit_store64(stack, kit_function_address(kit_user_exit))
    let masked = Info.mask
    let flags: UInt64 = masked ? 2 : 2 | Flags.interrupt
    var copy = arguments
    let value = withUnsafeBytes(of: &copy) {
        kit_user_enter(
            function, stack, flags, &cpu.pointee.user_call_stack,
            $0.baseAddress!.assumingMemoryBound(to: UInt64.self))
    }
    Events.setMask(masked)
    return value
}

/// A system call, from user mode.
func systemCall(_ number: Int32, _ a: UInt64) -> UInt64 {
    UInt64(bitPattern: kit_hypercall(UInt64(number), a, 0, 0))
}
