// SPDX-License-Identifier: Apache-2.0
// Keeps its vCPUs busy for as many seconds as the command line says (60 if it says nothing):
// timer events a thousand times a second, FPU registers checked, both modes. For soak tests.
// Expect: exit 0
// Needs: args=60
import CKit

func work() {
    equal(setRoots(kernel: vm.root_frame, user: vm.root_frame), 0, "set roots")
    let avx = FloatingPoint.enableAVX()
    let area = FloatingPoint.Area()
    let began = Clock.now
    let end = began + numericArgument(or: 60) * Clock.second
    var last = began
    var rounds: UInt64 = 0
    Clock.setTimer(began + Clock.millisecond)
    Events.setMask(false)
    while last < end {
        FloatingPoint.holdInKernel(area, spins: 500_000, avx: avx, seed: rounds)
        FloatingPoint.holdInUser(area, spins: 500_000, avx: avx, seed: ~rounds)
        let now = Clock.now
        check(now >= last, "the clock does not go backwards")
        last = now
        rounds += 1
    }
    Events.setMask(true)
    check(Events.timers > (end - began) / Clock.second, "timer events kept coming")
    put("vCPU ")
    put(decimal: kit_cpu_id())
    put(": rounds ")
    put(decimal: rounds)
    put(", timer events ")
    put(decimal: Events.timers)
    endLine()
}

@_cdecl("guest_main")
func guestMain() {
    setTrapHandler(KIT_VECTOR_EVENT) { _ in
        Events.collect()
        Clock.setTimer(Clock.now + Clock.millisecond)
    }
    Processors.startOthers { work() }
    work()
    Processors.join()
}
