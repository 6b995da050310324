// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Testing

@testable import PenumbraVMM

/// The choice of barriers that the module makes at load (interface/penumbra/barriers.h), for CPUs as their
/// kernels describe them.
@Suite struct SpeculationTests {
    struct Processor: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let facts: Int32
        let barriers: [String]
    }

    private static let branches = ["rsb-exit", "rsb-enter", "ibpb-vm", "ibpb-vmm"]
    private static let skylake =
        PENUMBRA_CPU_MELTDOWN | PENUMBRA_CPU_SPECTRE_V2 | PENUMBRA_CPU_L1TF | PENUMBRA_CPU_MDS
        | PENUMBRA_CPU_TAA | PENUMBRA_CPU_HOST_VERW | PENUMBRA_CPU_IBPB

    static let processors = [
        Processor(testDescription: "a CPU that needs nothing", facts: PENUMBRA_CPU_IBPB, barriers: []),
        Processor(
            testDescription: "Skylake", facts: skylake, barriers: ["restricted-view"] + branches + ["verw"]),
        Processor(
            testDescription: "Skylake with old microcode", facts: skylake & ~PENUMBRA_CPU_IBPB,
            barriers: ["restricted-view", "rsb-exit", "rsb-enter", "verw"]),
        Processor(
            testDescription: "Ice Lake, enhanced IBRS", facts: PENUMBRA_CPU_SPECTRE_V2 | PENUMBRA_CPU_IBPB,
            barriers: branches),
        Processor(
            testDescription: "Gracemont",
            facts: PENUMBRA_CPU_SPECTRE_V2 | PENUMBRA_CPU_IBPB | PENUMBRA_CPU_RFDS,
            barriers: branches + ["verw"]),
        Processor(
            testDescription: "Zen 4", facts: PENUMBRA_CPU_SPECTRE_V2 | PENUMBRA_CPU_IBPB | PENUMBRA_CPU_TSA,
            barriers: branches + ["verw"]),
        Processor(
            testDescription: "one whose host clears buffers for a reason of its own",
            facts: PENUMBRA_CPU_HOST_VERW, barriers: ["verw"]),
        Processor(
            testDescription: "an old one with Meltdown only",
            facts: PENUMBRA_CPU_MELTDOWN | PENUMBRA_CPU_L1TF,
            barriers: ["restricted-view"]),
        Processor(
            testDescription: "an emulated Skylake", facts: skylake | PENUMBRA_CPU_EMULATED,
            barriers: ["restricted-view"]),
        Processor(
            testDescription: "an emulated Zen", facts: PENUMBRA_CPU_SPECTRE_V2 | PENUMBRA_CPU_EMULATED,
            barriers: []),
    ]

    @Test("The choice follows the CPU", arguments: processors)
    func choice(_ processor: Processor) {
        let facts = UInt32(processor.facts)
        let speculation = Speculation(facts: facts, barriers: penumbra_barriers_needed(facts))
        #expect(speculation.barrierNames == processor.barriers)
        #expect(speculation.extraNames == [])
    }

    @Test("More facts never mean fewer barriers, but for emulation")
    func monotony() {
        for facts in UInt32(0)..<1024 where facts & UInt32(PENUMBRA_CPU_EMULATED) == 0 {
            for bit in 1..<10 {
                let more = penumbra_barriers_needed(facts | 1 << bit)
                #expect(penumbra_barriers_needed(facts) & ~more == 0, "\(facts) and bit \(bit)")
            }
        }
    }

    @Test("Every bit has a name")
    func names() {
        let all = Speculation(facts: 0x3ff, barriers: UInt32(PENUMBRA_BARRIERS_ALL))
        #expect(all.factNames.count == 10 && Set(all.factNames).count == 10)
        #expect(all.barrierNames.count == 6 && Set(all.barrierNames).count == 6)
        #expect(!(all.factNames + all.barrierNames).contains { $0.hasPrefix("bit ") })
        #expect(Speculation(facts: 0, barriers: 1 << 6).barrierNames == ["bit 6"])
    }

    @Test("What was asked for beyond the need is told apart")
    func extra() {
        let asked = Speculation(
            facts: UInt32(PENUMBRA_CPU_TSA),
            barriers: UInt32(PENUMBRA_BARRIER_VERW | PENUMBRA_BARRIER_RSB_EXIT))
        #expect(asked.extraNames == ["rsb-exit"])
    }
}
