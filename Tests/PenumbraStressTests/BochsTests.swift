// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraMachine
import PenumbraTestSupport
import Testing

extension StressTests {
    /// Bochs tags its TLB and refuses what the manual forbids, so this run ends early if a CR3 is
    /// loaded with NOFLUSH where that is not legal, or a stale translation is used.
    @Test("On a processor with PCIDs and INVPCID (Bochs), guests end well")
    func processContextIdentifiers() throws {
        let run = try RunningProgram(Tree.root.appending(path: "tools/bochs/guests"), ["--timeout", "280"])
            .finished()
        #expect(run.status == 0, "\(run.errors)")
        let lines = run.output.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("bochs: ") }
        let flags = lines.first { $0.hasPrefix("bochs: flags ") }?.split(separator: " ") ?? []
        #expect(flags.contains("pcid") && flags.contains("invpcid"), "\(flags)")
        #expect(lines.contains { $0.hasPrefix("bochs: features: ") && $0.contains("\"pcid\"") }, "\(lines)")
        #expect(lines.filter { $0.hasSuffix(": ok") }.count == 8, "\(run.output)")
        #expect(lines.filter { $0.hasPrefix("bochs: left ") && $0.hasSuffix(": 0") }.count == 5, "\(lines)")
        #expect(lines.contains("bochs: unloaded"))
        #expect(ConsoleLog(text: run.output).complaints == [])
    }
}
