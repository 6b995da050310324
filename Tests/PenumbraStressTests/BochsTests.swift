// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraMachine
import PenumbraTestSupport
import Testing

extension StressTests {
    /// Bochs tags its TLB and refuses what the manual forbids, so a run ends early if a CR3 is loaded with
    /// NOFLUSH where that is not legal, or CR4.PCIDE changes; the module says that PCIDs are on by what it
    /// has read from CR4. At the size of continuous integration each processor gets one view of the core.
    @Test(
        "On processors with PCIDs, with SMAP and without it (Bochs), all guests end well",
        arguments: Scale.isFull
            ? [["restricted", "full"], ["full", "restricted"]] : [["restricted", "full"]])
    func processContextIdentifiers(_ views: [String]) throws {
        let haswell = try bochs("corei7_haswell_4770", view: views[0])
        let broadwell = try bochs("broadwell_ult", view: views[1])
        try judge(haswell.finished(), features: ["pcid"])
        try judge(broadwell.finished(), features: ["pcid", "smap"])
    }

    /// Runs beside the test: two processors take no longer than one.
    private func bochs(_ processor: String, view: String) throws -> RunningProgram {
        try RunningProgram(
            Tree.root.appending(path: "tools/bochs/guests"),
            ["--model", processor, "--view", view, "--timeout", "900"])
    }

    private func judge(_ run: Finished, features: [String]) {
        #expect(run.status == 0, "\(run.errors)")
        let lines = run.output.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("bochs: ") }
        let offered = lines.first { $0.hasPrefix("bochs: features: ") } ?? ""
        #expect(features.allSatisfy { offered.contains("\"\($0)\"") }, "\(lines)")
        #expect(offered.contains("\"smap\"") == features.contains("smap"))
        let guests = lines.filter { $0.contains(" status ") || $0.hasSuffix(": ok") }
        #expect(guests.count > 40)
        #expect(guests.filter { !$0.hasSuffix(": ok") } == [], "\(run.output)")
        #expect(lines.filter { $0.hasPrefix("bochs: left ") && $0.hasSuffix(": 0") }.count == 5, "\(lines)")
        #expect(lines.contains("bochs: unloaded"))
        #expect(ConsoleLog(text: run.output).complaints == [])
    }
}
