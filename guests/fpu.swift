// SPDX-License-Identifier: Apache-2.0
// x87, SSE and AVX registers, MXCSR and the x87 control word stay what they are for two
// seconds of timer events, calls into the core, exits to the module and changes of mode.
// Each vCPU holds a pattern of its own.
// Expect: exit 0
// Needs: cpus=2
import CKit

let period = Clock.millisecond

/// The kit's event handler, and the next timer.
func rearm() {
    setTrapHandler(KIT_VECTOR_EVENT) { _ in
        Events.collect()
        Clock.setTimer(Clock.now + period)
    }
}

func work() {
    let avx = FloatingPoint.enableAVX()
    let area = FloatingPoint.Area()
    let end = Clock.now + 2 * Clock.second
    var seed = kit_cpu_id() << 32 | 1
    Clock.setTimer(Clock.now + period)
    Events.setMask(false)
    while Clock.now < end {
        FloatingPoint.holdInKernel(area, spins: 200_000, avx: avx, seed: seed)
        FloatingPoint.holdInUser(area, spins: 200_000, avx: avx, seed: ~seed)
        hypercall(PTEST_YIELD)
        seed += 1
    }
    Events.setMask(true)
    check(Events.timers >= 20, "timer events interrupted the work")
}

@_cdecl("guest_main")
func guestMain() {
    equal(setRoots(kernel: vm.root_frame, user: vm.root_frame), 0, "set roots")
    rearm()
    Processors.startOthers {
        equal(setRoots(kernel: vm.root_frame, user: vm.root_frame), 0, "set roots")
        work()
    }
    work()
    Processors.join()
}
