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
        arguments: Scale.isFull
            ? [Scale.isolated("6.1", 2), Scale.plain("6.12", 1)] : [Scale.isolated("6.1", 2)])
    func kills(_ kind: MachineKind) throws {
        let machine = try TestMachine(kind)
        try machine.install(guests: Self.victims)
        _ = try kill(machine, rounds: 8)
        let before = try machine.availableMemory()
        let running = try kill(machine, rounds: Scale.kills)
        #expect(running >= Scale.kills / 4, "VMs were there when their VMMs were killed")
        #expect(try machine.leaks() == "")
        let after = try machine.availableMemory()
        #expect(after > before - Self.toleranceKiB)
        #expect(try machine.complaints() == "")
    }

    /// Kills VMMs after up to three times as long as one needs to make its VM; how many had one.
    private func kill(_ machine: TestMachine, rounds: Int) throws -> Int {
        let result = try machine.shell(
            """
            has_vm() { ls -l /proc/$1/fd | grep -q penumbra-vcpu; }
            centiseconds() { cut -d ' ' -f 1 /proc/uptime | tr -d .; }
            begin=$(centiseconds)
            penumbra guest /tmp/\(Self.victims[0]).elf --cpus=2 >/dev/null 2>&1 &
            until has_vm $!; do :; done
            span=$(($(centiseconds) - begin + 1))
            kill -9 $!
            wait $! 2>/dev/null
            existed=0
            set -- \(Self.victims.joined(separator: " "))
            for round in $(seq \(rounds)); do
                view=; [ $((round % 2)) = 0 ] || view=--restricted
                penumbra guest /tmp/$1.elf --cpus=2 $view >/dev/null 2>&1 &
                set -- $2 $3 $4 $1
                usleep $((RANDOM * span * 30000 / 32768))
                ! has_vm $! || existed=$((existed + 1))
                kill -9 $!
                wait $! 2>/dev/null
            done
            echo $existed
            """)
        return try #require(Int(result.output.split(separator: "\n").last ?? ""), "\(result.errors)")
    }
}
