// SPDX-License-Identifier: Apache-2.0
import PenumbraTestSupport
import Testing

extension StressTests {
    /// Nobody owns these NMIs: the host says so, and that is no complaint of the kind looked for.
    @Test(
        "NMIs at 1 kHz and more, with guests in both views: the host lives, the guests end well",
        arguments: Scale.isFull
            ? [Scale.plain("6.1", 2), Scale.relocated("6.12", 1)] : [Scale.plain("6.1", 2)])
    func nmis(_ kind: MachineKind) throws {
        let machine = try TestMachine(kind)
        try machine.install(guests: ["spin60", "roundtrip", "syscall-storm", "tables-native"])
        for options in ["", "--restricted"] {
            try storm(machine, options)
        }
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
    }

    /// Guests on CPU 0, where QEMU sends NMIs: one that mostly runs at CPL 3, and some that mostly
    /// keep the core busy, again and again.
    private func storm(_ machine: TestMachine, _ options: String) throws {
        let before = try Interrupts(of: machine)
        let jobs = try machine.begin([
            Job(
                name: "spin",
                command: "taskset 1 penumbra guest /tmp/spin60.elf \(options) --counters"
                    + " --cmdline=\(Scale.seconds)"),
            Job(
                name: "storm",
                command:
                    "taskset 1 penumbra guest /tmp/syscall-storm.elf \(options) --timeout=\(Scale.seconds)",
                status: 124),
            Job(
                name: "rounds",
                command: """
                    end=$(($(date +%s) + \(Scale.seconds)))
                    while [ $(date +%s) -lt $end ]; do
                        for guest in roundtrip tables-native; do
                            taskset 1 penumbra guest /tmp/$guest.elf \(options) || exit
                        done
                    done
                    """),
        ])
        let injected = try Monitor(of: machine).injectNMIs(seconds: Double(Scale.seconds))
        let outputs = try jobs.results()
        let taken = try Interrupts(of: machine).growth("NMI", since: before).first ?? 0
        #expect(injected > 1000 * Scale.seconds)
        // While one is handled, any number of further ones is one; and an emulated CPU that shares its
        // own takes as many as it gets to.
        #expect(taken > 100 * Scale.seconds, "of \(injected) NMIs")
        #expect(counter("exit_nmi", in: outputs["spin"]) > 0, "some hit a guest's own code")
        print("NMIs \(options): \(injected) sent in \(Scale.seconds) s, \(taken) taken")
    }
}
