// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraMachine
import PenumbraVMM
import Testing

@testable import penumbra

/// What `penumbra doctor` says of barriers and of what keeps ring 0 from guests' memory.
@Suite struct SpeculationCheckTests {
    private static let allFeatures = PENUMBRA_FEATURE_SMEP | PENUMBRA_FEATURE_SMAP | PENUMBRA_FEATURE_UMIP

    private func checks(_ facts: Int32, more: Int32 = 0, features: Int32 = allFeatures) -> [Check] {
        let facts = UInt32(facts)
        let speculation = Speculation(
            facts: facts, barriers: penumbra_barriers_needed(facts) | UInt32(more))
        return SpeculationCheck(speculation: speculation, features: UInt32(features)).checks
    }

    @Test func whatIsNeededIsNamed() {
        let check = checks(PENUMBRA_CPU_SPECTRE_V2 | PENUMBRA_CPU_IBPB)[0]
        #expect(
            check == .ok("barriers", "rsb-exit, rsb-enter, ibpb-vm, ibpb-vmm, which this CPU needs"))
        let more = checks(PENUMBRA_CPU_MDS, more: PENUMBRA_BARRIER_RSB_EXIT)[0]
        #expect(more == .ok("barriers", "verw, which this CPU needs; rsb-exit, asked for"))
    }

    @Test func nothingIsFineWhereNothingIsNeeded() {
        #expect(checks(PENUMBRA_CPU_IBPB)[0] == .ok("barriers", "none; this CPU needs none"))
        let emulated = checks(
            PENUMBRA_CPU_SPECTRE_V2 | PENUMBRA_CPU_EMULATED, features: PENUMBRA_FEATURE_SMEP)
        #expect(emulated[0] == .ok("barriers", "none; an emulated CPU needs none"))
        #expect(emulated[1] == .ok("ring 0", "guests run with SMEP"))
    }

    @Test func microcodeWithoutIBPBIsAWarning() {
        let check = checks(PENUMBRA_CPU_SPECTRE_V2)[0]
        #expect(check.status == .warning && check.remedy?.contains("microcode") == true)
    }

    @Test func aMissingProtectionIsAWarning() {
        #expect(checks(0)[1] == .ok("ring 0", "guests run with SMEP, SMAP, UMIP"))
        let check = checks(0, features: PENUMBRA_FEATURE_SMEP | PENUMBRA_FEATURE_SMAP)[1]
        #expect(check.status == .warning && check.finding.hasSuffix("the CPU has no UMIP"))
    }
}
