// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

/// Every micro-guest, on every kind of host: ends as its head says, leaves nothing behind, and
/// neither the host's log nor a VM beside them shows anything of it. As many machines at once as there are CPUs here.
@Suite
struct MicroGuestTests {
    /// A host, and the views that guests of the test personality have there: true for the restricted one.
    struct Host: CustomTestStringConvertible {
        var kind: MachineKind
        var views: [Bool]

        var testDescription: String { kind.testDescription }
    }

    /// Both views on a debug core, and each on a release core.
    static let hosts = [
        Host(kind: MachineKind(testDescription: "Linux 6.1, debug core"), views: [false, true]),
        Host(
            kind: MachineKind(
                testDescription: "Linux 6.12, debug core, bzImage: KASLR and LA57, pti=on", kernel: "6.12",
                boot: "bzimage", commandLine: "pti=on"), views: [true]),
        Host(
            kind: MachineKind(
                testDescription: "Linux 6.1 cloud, release core, pti=on, barriers", kernel: "6.1-cloud",
                core: "release", commandLine: "pti=on \(MachineKind.barriers)"), views: [true]),
        Host(
            kind: MachineKind(
                testDescription: "Linux 6.12, release core, 1 CPU", kernel: "6.12", core: "release", cpus: 1),
            views: [false]),
    ]

    /// Guests that measure, or run as long as they are let.
    private static let noTests = ["bench", "spin60", "bystander"]

    @Test("Micro-guests end as their heads say", arguments: hosts)
    func guests(_ host: Host) throws {
        let kind = host.kind
        let machine = try TestMachine(kind)
        let bystander = try Bystander(on: machine)
        for guest in try Guest.all() where kind.isDebug || !guest.needsDebug {
            // The watchdog needs another CPU to notice a stuck one.
            if guest.name == "plant-loop" && kind.cpus == 1 || Self.noTests.contains(guest.name) { continue }
            for restricted in guest.isXenPV ? [false] : host.views {
                if let wrong = try guest.run(on: machine, debugCore: kind.isDebug, restricted: restricted) {
                    Issue.record("\(wrong)")
                }
            }
        }
        #expect(try bystander.end() == nil)
        if kind.commandLine.contains(MachineKind.barriers) { try expectBarriers(machine) }
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
        let unloaded = try machine.shell("rmmod penumbra && echo unloaded")
        #expect(unloaded.output == "unloaded\n", "\(unloaded.errors)")
    }

    /// What the parameter asks for is in use; a CPU that goes on with another VM executes IBPB.
    private func expectBarriers(_ machine: TestMachine) throws {
        let info = try machine.shell("penumbra info").output
        #expect(info.contains(#"barriers: ["rsb-exit","rsb-enter","ibpb-vm","ibpb-vmm","verw"]"#), "\(info)")
        let guest = try penumbra(
            "guest", Tree.image("roundtrip").path, "--machine", machine.name, "--counters")
        #expect(guest.errors.contains(/counter ibpbs [1-9]/), "\(guest.errors)")
    }

    @Test("A guest's head is read as it is written")
    func heads() throws {
        let guest = try Guest(named: "x", head: "// Expect: crash core-trap\n// Needs: debug, cpus=3\n")
        #expect(guest.expectation == .crash("core-trap"))
        #expect(guest.needsDebug && guest.options == ["--cpus=3"])
        #expect(throws: Guest.Malformed.self) { try Guest(named: "x", head: "// Expect: luck\n") }
        #expect(throws: Guest.Malformed.self) {
            try Guest(named: "x", head: "// Expect: exit 0\n// Needs: luck\n")
        }
        #expect(try Guest.all().count > 40)
        #expect(try Guest.all().filter(\.isXenPV).count > 8)
    }

    @Test("A guest that ends otherwise than expected is seen")
    func judges() throws {
        let guest = try Guest(named: "x", head: "// Expect: exit 0\n")
        #expect(guest.judge(Finished(status: 1, output: "FAIL: no", errors: "")) != nil)
        let crash = try Guest(named: "x", head: "// Expect: crash bad-iret\n")
        #expect(
            crash.judge(Finished(status: 70, output: "", errors: "penumbra: crash: bad-stack at 0x0")) != nil)
        #expect(
            crash.judge(Finished(status: 70, output: "", errors: "penumbra: crash: bad-iret at 0x0")) == nil)
    }
}
