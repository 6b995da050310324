// SPDX-License-Identifier: Apache-2.0
import PenumbraTestSupport
import Testing

extension StressTests {
    private static let representative = [
        Scale.isolated("6.1", 2),
        MachineKind(testDescription: "Linux 6.12, debug core", kernel: "6.12"),
    ]

    @Test("Hostile calls are refused with the error that the interface names", arguments: representative)
    func hostileCalls(_ kind: MachineKind) throws {
        let machine = try TestMachine(kind)
        try machine.install(programs: ["hostile"])
        let result = try machine.shell("/tmp/hostile")
        #expect(result.status == 0 && result.output.hasSuffix("PASS\n"), "\(result.output)\(result.errors)")
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
    }

    @Test(
        "eventfds wake a halted guest and carry its answers, also while VMs end",
        arguments: representative)
    func eventfds(_ kind: MachineKind) throws {
        let machine = try TestMachine(kind)
        try machine.install(programs: ["events"])
        let result = try machine.shell("/tmp/events \(Scale.eventRounds)")
        #expect(result.status == 0 && result.output.hasSuffix("PASS\n"), "\(result.output)\(result.errors)")
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
    }
}
