// SPDX-License-Identifier: Apache-2.0
// XCR0 is the guest's: xsetbv takes what the CPU would take and refuses the rest with #GP(0),
// as it refuses user code; what is off traps with #UD; and the value survives exits.
// Attack: instructions
// Expect: exit 0
import CKit

let x87 = FloatingPoint.x87
let sse = FloatingPoint.sse
let avx = FloatingPoint.avx

func set(_ value: UInt64, _ register: UInt64 = 0) -> Probe {
    probe(kit_probe_xsetbv, value & 0xffff_ffff, value >> 32, register)
}

func get() -> UInt64 {
    let value = probe(kit_probe_xgetbv)
    value.passes("xgetbv")
    return value.value
}

@_cdecl("guest_main")
func guestMain() {
    guard FloatingPoint.cpuHasXSAVE else {
        check(!FloatingPoint.enabledByCore, "no OSXSAVE without XSAVE")
        probe(kit_probe_xgetbv).traps(6, 0, "xgetbv without XSAVE")
        return
    }
    check(FloatingPoint.enabledByCore, "CPUID says OSXSAVE")
    check(get() & x87 != 0, "x87 is always on")
    valid(x87)
    valid(x87 | sse)
    refused()
    makeUserRoot()
    userProbe(kit_probe_xsetbv, x87 | sse).traps(13, 0, "xsetbv by user code")
    if FloatingPoint.known & avx != 0 {
        vectorState()
    }
}

func valid(_ value: UInt64) {
    set(value).passes("xsetbv")
    equal(get(), value, "xgetbv gives back what was set")
    hypercall(PTEST_YIELD)
    equal(get(), value, "the same after an exit")
}

func refused() {
    let before = get()
    set(0).traps(13, 0, "x87 off")
    set(sse).traps(13, 0, "SSE without x87")
    set(x87 | avx).traps(13, 0, "AVX without SSE")
    set(x87 | sse | 1 << 62).traps(13, 0, "a bit that no CPU knows")
    set(x87 | sse, 1).traps(13, 0, "XCR1")
    set(x87 | sse, 0xffff_ffff).traps(13, 0, "XCR far away")
    equal(get(), before, "nothing changed")
}

func vectorState() {
    set(x87 | sse).passes("AVX off")
    probe(kit_probe_avx).traps(6, 0, "AVX while it is off")
    userProbe(kit_probe_avx).traps(6, 0, "AVX by user code while it is off")
    valid(x87 | sse | avx)
    probe(kit_probe_avx).passes("AVX while it is on")
    let area = FloatingPoint.Area()
    FloatingPoint.holdInKernel(area, spins: 100_000, avx: true, seed: 1)
    FloatingPoint.holdInUser(area, spins: 100_000, avx: true, seed: 2)
    userProbe(kit_probe_avx).passes("AVX by user code while it is on")
    let user = userProbe(kit_probe_xgetbv)
    equal(user.value, x87 | sse | avx, "user code sees the same XCR0")
    set(x87 | sse).passes("off again")
    FloatingPoint.holdInKernel(area, spins: 100_000, avx: false, seed: 3)
}
