// SPDX-License-Identifier: Apache-2.0
// The FPU's registers, filled with a pattern and looked at again later.
import CKit

enum FloatingPoint {
    /// XCR0 bits: Intel SDM vol. 1, 13.1.
    static let x87: UInt64 = 1
    static let sse: UInt64 = 2
    static let avx: UInt64 = 4

    static var cpuHasXSAVE: Bool { kit_cpuid(1, 0).ecx & 1 << 26 != 0 }
    static var enabledByCore: Bool { kit_cpuid(1, 0).ecx & 1 << 27 != 0 }
    /// The XCR0 bits that the CPU knows.
    static var known: UInt64 {
        let leaf = kit_cpuid(13, 0)
        return UInt64(leaf.eax) | UInt64(leaf.edx) << 32
    }

    /// Turns AVX on where the CPU has it; says whether it did.
    static func enableAVX() -> Bool {
        guard cpuHasXSAVE && enabledByCore && known & avx != 0 else { return false }
        probe(kit_probe_xsetbv, x87 | sse | avx).passes("xsetbv with x87, SSE and AVX")
        return true
    }

    /// Two pages: the pattern and what came back.
    struct Area {
        let pattern = Frames.allocate() << 12
        let result = Frames.allocate() << 12
    }

    static func fill(_ area: Area, seed: UInt64) {
        var random = Random(state: seed &* 2 &+ 1)
        for offset in stride(from: UInt64(0), to: UInt64(KIT_FPU_X87), by: 8) {
            kit_store64(area.pattern + offset, random.next())
        }
        for index: UInt64 in 0..<8 {
            // Doubles from 1.0 to 2.0: x87 keeps them exactly.
            let value = 0x3ff0_0000_0000_0000 | random.next() >> 12
            kit_store64(area.pattern + UInt64(KIT_FPU_X87) + index * 8, value)
        }
        // All exceptions masked, rounding that is not the default.
        kit_store64(area.pattern + UInt64(KIT_FPU_MXCSR), 0x5f80)
        kit_store64(area.pattern + UInt64(KIT_FPU_CONTROL), 0x0b7f)
    }

    static func compare(_ area: Area, avx: Bool) {
        for offset in stride(from: UInt64(0), to: UInt64(KIT_FPU_X87), by: 8)
        where avx || offset & 16 == 0 {
            same(area, offset, "vector register")
        }
        for index: UInt64 in 0..<8 {
            same(area, UInt64(KIT_FPU_X87) + index * 8, "x87 register")
        }
        same(area, UInt64(KIT_FPU_MXCSR), "MXCSR")
        same(area, UInt64(KIT_FPU_CONTROL), "x87 control word")
    }

    private static func same(_ area: Area, _ offset: UInt64, _ message: StaticString) {
        equal(kit_load64(area.result + offset), kit_load64(area.pattern + offset), message)
    }

    /// Holds a pattern for `spins` in the guest kernel.
    static func holdInKernel(_ area: Area, spins: UInt64, avx: Bool, seed: UInt64) {
        fill(area, seed: seed)
        kit_fpu_hold(area.pattern, area.result, spins, avx ? 1 : 0, UInt64(PTEST_NOOP))
        compare(area, avx: avx)
    }

    /// The same in user mode.
    static func holdInUser(_ area: Area, spins: UInt64, avx: Bool, seed: UInt64) {
        fill(area, seed: seed)
        _ = callUser(
            { pattern, result, spins, avx in
                kit_fpu_hold(pattern, result, spins, avx, UInt64(KIT_SYSCALL_NEXT))
                return 0
            }, area.pattern, area.result, spins, avx ? 1 : 0)
        compare(area, avx: avx)
    }
}
