// SPDX-License-Identifier: Apache-2.0
// Wild pointers and numbers in every argument of every hypercall: -EFAULT, -EINVAL or -ENOSYS
// as it should be, and no harm: the guest goes on as if nothing had been.
// Attack: calls
// Expect: exit 0
import CKit

/// No address of these can be read by the guest; `unmapped` ends the list.
let wild =
    [
        0x8000_0000_0000_0000, 0x0000_8000_0000_0000, 0xffff_7fff_ffff_fff8, 0xffff_8000_0000_0000,
        0xffff_8280_0000_0000, 0xffff_8280_4001_2000, 0xffff_8280_8000_0000, 0xffff_8290_0000_1000,
        0xffff_87ff_ffff_f000, 0xffff_ffff_8100_0000, 0xffff_ffff_ffff_f000, 0xffff_ffff_ffff_ffff,
        0x0000_7fff_ffff_f000, 0xffff_d000_0000_0000, 0x0000_0080_0000_0000,
    ] as InlineArray<15, UInt64>

@_cdecl("guest_main")
func guestMain() {
    for index in wild.indices {
        memory(wild[index])
        entries(wild[index])
        segments(wild[index])
    }
    straddling()
    numbers()
    printLine("still here")
}

/// Arguments that the core reads or writes through.
func memory(_ pointer: UInt64) {
    let entry = Tables.entry(vm.root_frame, 0x10_0000)
    var pair = (entry, kit_load64(entry))
    equal(hypercall(PTEST_CONSOLE_WRITE, pointer, 16), Errno.fault, "text")
    equal(hypercall(PTEST_CONSOLE_WRITE, pointer, ~0), Errno.fault, "endless text")
    equal(hypercall(PTEST_UPDATE, pointer, 1, 0), Errno.fault, "array")
    equal(hypercall(PTEST_UPDATE, pointer, 0xffff_ffff, 0), Errno.fault, "endless array")
    let done = withUnsafeMutablePointer(to: &pair) {
        hypercall(PTEST_UPDATE, UInt64(UInt(bitPattern: $0)), 1, pointer)
    }
    equal(done, Errno.fault, "where `done` goes")
}

/// Entry points: refused, or taken and harmless as long as nothing goes there.
func entries(_ pointer: UInt64) {
    func refusedOrTaken(_ result: Int64) {
        check(result == 0 || result == Errno.invalid || result == Errno.fault, "a wild entry point")
    }
    refusedOrTaken(hypercall(PTEST_SET_HANDLER, 0x90, pointer, UInt64(PTEST_GATE_USER)))
    refusedOrTaken(hypercall(PTEST_SET_CALLBACK, UInt64(PTEST_CALLBACK_EVENT), pointer))
    refusedOrTaken(hypercall(PTEST_SET_CALLBACK, UInt64(PTEST_CALLBACK_SYSCALL), pointer))
    refusedOrTaken(hypercall(PTEST_SET_KERNEL_STACK, pointer))
    installEntries()
}

func segments(_ base: UInt64) {
    let canonical = UInt64(bitPattern: Int64(bitPattern: base << 16) >> 16) == base
    guard !canonical else { return }
    for which: UInt64 in 0..<3 {
        equal(hypercall(PTEST_SET_SEGMENT_BASE, which, base), Errno.invalid, "segment base")
    }
}

/// The first page is there, the next one is not.
func straddling() {
    let page = testArea + 0x5000
    Tables.map(vm.root_frame, page, Frames.allocate())
    let end = page + pageSize
    kit_store64(end - 8, 0x0a2e_2e2e_2e2e_2e2e)
    let taken = hypercall(PTEST_CONSOLE_WRITE, end - 8, 16)
    check(taken == 8 || taken == Errno.fault, "text that runs into an absent page")
    equal(hypercall(PTEST_UPDATE, end - 8, 1), Errno.fault, "a pair that straddles")
    let entry = Tables.entry(vm.root_frame, page)
    kit_store64(page, entry)
    kit_store64(page + 8, kit_load64(entry))
    equal(hypercall(PTEST_UPDATE, page, 1, end - 2), Errno.fault, "`done` that straddles")
    equal(hypercall(PTEST_UPDATE, page, 1, end - 4), 0, "`done` that just fits")
    equal(UInt64(kit_load32(end - 4)), 1, "one update done")
}

/// Numbers that name nothing.
func numbers() {
    forEach([22, 27, 28, 255, 4096, 0x7fff_ffff]) { (number: Int32) in
        equal(hypercall(number, 1, 2, 3), Errno.notImplemented, "a hypercall that does not exist")
    }
    equal(kit_hypercall(0x1_0000_0013, 0, 0, 0), Errno.notImplemented, "a number beyond 32 bits")
    let big: UInt64 = 0x1_0000_0000
    forEach([64, 4096, big, ~0]) { value in
        equal(hypercall(PTEST_BIND, value, 0), Errno.invalid, "bind: port")
        equal(hypercall(PTEST_BIND, 8, value), Errno.invalid, "bind: vCPU")
        equal(hypercall(PTEST_COUNTER, value), Errno.invalid, "counter")
        equal(hypercall(PTEST_SET_DEBUGREG, value, 0), Errno.invalid, "debug register")
        equal(hypercall(PTEST_GET_DEBUGREG, value), Errno.invalid, "debug register")
        equal(hypercall(PTEST_SET_SEGMENT_BASE, value, 0), Errno.invalid, "segment")
        equal(hypercall(PTEST_SET_CALLBACK, value, 0x10_0000), Errno.invalid, "callback")
        equal(hypercall(PTEST_FLUSH, value, 0), Errno.invalid, "kind of flush")
    }
    forEach([big, ~0, 4096]) { value in
        equal(hypercall(PTEST_SEND, value), Errno.invalid, "send: port")
        equal(hypercall(PTEST_SET_HANDLER, value, 0x10_0000, 0), Errno.invalid, "vector")
        equal(hypercall(PTEST_SET_DESCRIPTOR, value, 0), Errno.invalid, "descriptor")
        equal(kit_hypercall6(UInt64(PTEST_START_VCPU), value, 0, 0, 0, 0, 0), Errno.noEntry, "vCPU")
    }
    equal(hypercall(PTEST_DROP_FRAME, ~0), Errno.invalid, "frame")
    equal(hypercall(PTEST_BIND, 0, 0), Errno.invalid, "port 0 is no port")
    equal(hypercall(PTEST_SEND, 0), Errno.invalid, "port 0 is no port")
    equal(hypercall(PTEST_SET_DESCRIPTOR, 3, 0), Errno.invalid, "descriptors 0 to 3 are the core's")
}
