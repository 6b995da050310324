// SPDX-License-Identifier: Apache-2.0
import PenumbraTestSupport
import Testing

extension StressTests {
    private static let guests = ["loop-kernel", "loop-user", "spin60"]

    @Test(
        "Guests spin; the host's timer, shootdown and reschedule interrupts are served beside them",
        arguments: Scale.isFull ? Scale.all : [Scale.relocated("6.12", 2), Scale.plain("6.1", 1)])
    func interrupts(_ kind: MachineKind) throws {
        let machine = try TestMachine(kind)
        try machine.install(programs: ["load", "float"])
        try machine.install(guests: Self.guests)
        for threads in Scale.isFull ? [1, 2, 3] : [3] { try spin(machine, kind, threads: threads) }
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
    }

    private func spin(_ machine: TestMachine, _ kind: MachineKind, threads: Int) throws {
        let seconds = Scale.seconds
        let float = "/tmp/float \(seconds * 150) 0.3"
        let undisturbed = try machine.shell(float).output
        let before = try Interrupts(of: machine)
        let results = try machine.together([
            Job(name: "load", command: "/tmp/load \(seconds) \(threads)"),
            Job(name: "float", command: float),
            Job(
                name: "spin", command: "penumbra guest /tmp/spin60.elf --cpus=\(threads) --cmdline=\(seconds)"
            ),
            Job(
                name: "kernel", command: "penumbra guest /tmp/loop-kernel.elf --timeout=\(seconds)",
                status: 124),
            Job(
                name: "user", command: "penumbra guest /tmp/loop-user.elf --timeout=\(seconds) --restricted",
                status: 124),
        ])
        let after = try Interrupts(of: machine)
        #expect(results["float"] == undisturbed, "a process beside guests computes as one without")
        #expect(results["load"]?.contains("PASS") == true)
        // 250 a second where nothing is late; an emulated CPU that shares its own is.
        #expect(after.least("LOC", since: before) > seconds * 25)
        if kind.cpus > 1 {
            #expect(after.least("TLB", since: before) > seconds * 5)
            #expect(after.least("RES", since: before) > seconds * 5)
        }
    }
}
