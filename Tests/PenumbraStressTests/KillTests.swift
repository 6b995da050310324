// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

extension StressTests {
    private static let victims = ["spin60", "loop-user", "tables-native", "reclaim"]

    /// One page of each VM out of 200 would be more; what the host itself keeps after some rounds
    /// (slabs) goes up and down by less than a tenth of it.
    private static let toleranceKiB = 512

    @Test(
        "VMMs are killed at random moments: the module lets go of everything, the host's memory comes back",
        arguments: Scale.kinds([Scale.isolated("6.1", 2)]))
    func kills(_ kind: MachineKind) throws {
        let machine = try TestMachine(kind)
        try machine.install(guests: Self.victims)
        _ = try kill(machine, rounds: 8)
        let before = try available(machine)
        let running = try kill(machine, rounds: Scale.kills)
        #expect(running >= Scale.kills / 4, "VMs were there when their VMMs were killed")
        #expect(try machine.leaks() == "")
        let after = try available(machine)
        #expect(after > before - Self.toleranceKiB)
        #expect(try machine.complaints() == "")
    }

    /// Kills VMMs after 0 to 650 ms, of which they need half to make a VM; how many had one.
    private func kill(_ machine: TestMachine, rounds: Int) throws -> Int {
        let result = try machine.shell(
            """
            existed=0
            set -- \(Self.victims.joined(separator: " "))
            for round in $(seq \(rounds)); do
                view=; [ $((round % 2)) = 0 ] || view=--restricted
                penumbra guest /tmp/$1.elf --cpus=2 $view >/dev/null 2>&1 &
                set -- $2 $3 $4 $1
                usleep $((RANDOM * 20))
                ! ls -l /proc/$!/fd | grep -q penumbra-vcpu || existed=$((existed + 1))
                kill -9 $!
                wait $! 2>/dev/null
            done
            echo $existed
            """)
        return try #require(Int(result.output.split(separator: "\n").last ?? ""), "\(result.errors)")
    }

    /// Kibibytes that the host could give away at once: MemAvailable without caches, and the free pages
    /// on the lists of the CPUs, which it leaves out and which are tens of megabytes.
    private func available(_ machine: TestMachine) throws -> Int {
        let result = try machine.shell(
            """
            sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1
            available=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)
            listed=$(awk '/ count:/ {pages += $2} END {print pages * 4}' /proc/zoneinfo)
            echo $((available + listed))
            """)
        return try #require(Int(result.output.trimmingCharacters(in: .whitespacesAndNewlines)))
    }
}
