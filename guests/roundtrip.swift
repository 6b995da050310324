// SPDX-License-Identifier: Apache-2.0
// User to guest kernel and back, 10,000 times, with every register watched: a system call
// loses RCX and R11 and nothing else; an iret restores even these. The frames that the
// kernel returns through are such as SYSRET can take and such as it cannot (RCX that is not
// RIP, non-canonical values in RCX, RFLAGS with DF or AC).
// Expect: exit 0
import CKit

/// System calls of this guest.
let sameFrame: UInt64 = 2  // returns as it came
let otherRegisters: UInt64 = 3  // RCX and R11 get values of their own
let otherFlags: UInt64 = 4  // RFLAGS gets DF, AC and ID

let patternRCX: UInt64 = 0x8000_1234_5678_9abc
let patternR11: UInt64 = 0xdead_beef_0bad_f00d

@_silgen_name("roundtrip_user_address") func userAddress() -> UInt64

let serve: @convention(c) (Frame?) -> Void = { frame in
    let frame = frame!
    switch frame.pointee.rax {
    case sameFrame:
        equal(frame.pointee.rcx, frame.pointee.rip, "system call: RCX is the return address")
        equal((frame.pointee.r11 ^ frame.pointee.rflags) & ~Flags.interrupt, 0, "system call: R11 is RFLAGS")
    case otherRegisters:
        frame.pointee.rcx = patternRCX
        frame.pointee.r11 = patternR11
    case otherFlags:
        frame.pointee.rflags |= Flags.direction | Flags.alignment | Flags.identification
    default:
        serveSystemCall(frame)
        return
    }
    equal(frame.pointee.cs & 0xffff, UInt64(PENUMBRA_SEL_GUEST_CS), "system call: CS of user mode")
    equal(frame.pointee.ss, UInt64(PENUMBRA_SEL_GUEST_SS), "system call: SS of user mode")
}

/// Runs `count` system calls; the assembly answers which register was wrong, 0 for none.
func run(_ number: UInt64, _ count: UInt64, _ message: StaticString) {
    equal(enterUser(userAddress(), (number, count, patternRCX, patternR11)), 0, message)
}

@_cdecl("guest_main")
func guestMain() {
    setTrapHandler(KIT_VECTOR_SYSCALL, serve)
    makeUserRoot()
    runAll()
    Info.mask = false
    runAll()
    // One root for both modes is legal, too.
    equal(setRoots(kernel: vm.root_frame, user: vm.root_frame), 0, "one root for both modes")
    runAll()
}

func runAll() {
    run(sameFrame, 10_000, "round trips, frame as it came")
    run(otherRegisters, 1_000, "round trips, RCX and R11 from the frame")
    run(otherFlags, 1_000, "round trips, DF AC ID from the frame")
}
