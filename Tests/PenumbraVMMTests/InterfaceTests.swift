// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Testing

@testable import PenumbraVMM

@Suite struct InterfaceTests {
    /// asm-generic/ioctl.h: direction in bits 31:30, size in 29:16, type in 15:8, number in 7:0.
    @Test func ioctlNumbersCarryTheirStructuresSizes() {
        func parts(_ request: penumbra_ioctl) -> [UInt32] {
            [
                request.rawValue >> 30, request.rawValue >> 16 & 0x3fff, request.rawValue >> 8 & 0xff,
                request.rawValue & 0xff,
            ]
        }
        let type = UInt32(PENUMBRA_IOC)
        #expect(parts(PENUMBRA_IOCTL_GET_INFO) == [2, UInt32(MemoryLayout<penumbra_info>.size), type, 0])
        #expect(
            parts(PENUMBRA_IOCTL_CREATE_VM) == [1, UInt32(MemoryLayout<penumbra_create_vm>.size), type, 1])
        #expect(
            parts(PENUMBRA_IOCTL_CREATE_VCPU) == [
                1, UInt32(MemoryLayout<penumbra_create_vcpu>.size), type, 17,
            ])
        #expect(
            parts(PENUMBRA_IOCTL_GET_COUNTERS) == [2, UInt32(MemoryLayout<penumbra_counters>.size), type, 20])
        #expect(parts(PENUMBRA_IOCTL_KILL) == [0, 0, type, 21])
        #expect(parts(PENUMBRA_IOCTL_RUN) == [0, 0, type, 32])
    }

    @Test func countersHaveTheirNames() {
        var counters = penumbra_counters()
        counters.counter.17 = 5
        counters.pool_pages = 7
        let list = CounterList.named(counters)
        #expect(list.first { $0.name == "hypercalls" }?.value == 5)
        #expect(list.first { $0.name == "pool_pages" }?.value == 7)
        #expect(Set(list.map(\.name)).count == list.count)
        #expect(!list.contains { $0.name.isEmpty })
    }

    @Test func crashesAreNamedAndBlamed() {
        func report(_ reason: Int32) -> CrashReport {
            CrashReport(reason: UInt64(reason), rip: 0x1000, cr2: 0x20, errorCode: 2, vector: 14, detail: 0)
        }
        #expect(report(PENUMBRA_CRASH_BAD_STACK).name == "bad-stack")
        #expect(report(PENUMBRA_CRASH_BAD_STACK).culprit == .guest)
        #expect(report(PENUMBRA_CRASH_INVARIANT).culprit == .core)
        #expect(report(99).culprit == .core)
        #expect(
            "\(report(PENUMBRA_CRASH_CORE_TRAP))"
                == "crash: core-trap at 0x1000: a check in the core failed (vector 14, error 0x2, cr2 0x20)")
    }

    @Test func theModulesErrorsAreExplained() {
        #expect(VMMError(.init(call: "ioctl", subject: "", code: 71), wanted: "a VM") == .otherInterface)
        #expect(
            VMMError(.init(call: "ioctl", subject: "", code: 12), wanted: "a VM")
                == .notEnoughMemory(wanted: "a VM"))
        #expect(VMMError(.init(call: "ioctl", subject: "", code: 95), wanted: "a VM") == .noDebugCore)
    }
}
