// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

extension StressTests {
    private static let victims = ["spin60", "loop-user", "tables-native", "reclaim"]

    /// A VM with two vCPUs holds more than 1,200 pages (its 16 MiB guest's tables, the core's pool and
    /// state), so 2 MiB less would mean that one of them stayed, or three pages of each of 200. What
    /// the host keeps for itself in slabs and per-CPU lists is less: the first rounds fill those.
    private static let toleranceKiB = 2048

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
        #expect(try available(machine) > before - Self.toleranceKiB)
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

    /// Without what the host could drop at any time.
    private func available(_ machine: TestMachine) throws -> Int {
        let result = try machine.shell(
            "sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1; awk '/^MemAvailable/ {print $2}' /proc/meminfo")
        return try #require(Int(result.output.trimmingCharacters(in: .whitespacesAndNewlines)))
    }
}
