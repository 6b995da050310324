// SPDX-License-Identifier: Apache-2.0
import PenumbraTestSupport
import Testing

extension StressTests {
    /// Nobody owns these NMIs: the host says so, and that is no complaint of the kind looked for.
    @Test(
        "NMIs at 1 kHz and more, with guests in both views: the host lives, the guests end well",
        arguments: Scale.kinds([Scale.plain("6.1", 2)]))
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
                command: "taskset 1 penumbra guest /tmp/spin60.elf \(options) --cmdline=\(Scale.seconds)"),
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
        _ = try jobs.results()
        let taken = try Interrupts(of: machine).growth("NMI", since: before).first ?? 0
        #expect(injected > 1000 * Scale.seconds)
        // While one is handled, any number of further ones is one.
        #expect(taken > 500 * Scale.seconds, "of \(injected) NMIs")
    }
}
