// SPDX-License-Identifier: Apache-2.0
import PenumbraTestSupport
import Testing

extension StressTests {
    @Test(
        "CPUs go and come beside a running VM, and the module stays as long as there is one",
        arguments: Scale.isFull
            ? [Scale.plain("6.12", 2), Scale.isolated("6.1", 2)] : [Scale.plain("6.12", 2)])
    func hotplug(_ kind: MachineKind) throws {
        let machine = try TestMachine(kind)
        try machine.install(guests: ["spin60", "cpl3"])
        let seconds = Scale.hotplugs
        let jobs = try machine.begin([
            Job(name: "spin", command: "penumbra guest /tmp/spin60.elf --cpus=2 --cmdline=\(seconds + 4)"),
            Job(
                name: "pinned",
                command: "taskset 2 penumbra guest /tmp/spin60.elf --restricted --cmdline=\(seconds + 4)"),
        ])
        let switched = try machine.shell(
            """
            sleep 1
            for round in $(seq \(seconds)); do
                for state in 0 1; do
                    echo $state >/sys/devices/system/cpu/cpu1/online || exit 1
                    [ "$(cat /sys/devices/system/cpu/cpu1/online)" = $state ] || exit 2
                    sleep 0.2
                done
            done
            """)
        #expect(switched.status == 0, "\(switched.errors)")
        let refused = try machine.shell("rmmod penumbra")
        #expect(refused.status != 0, "the module stays while VMs run")
        #expect(try machine.shell("lsmod | grep -c '^penumbra '").output == "1\n")
        _ = try jobs.results()
        #expect(try machine.leaks() == "")
        for _ in 0..<3 { try reload(machine) }
        #expect(try machine.complaints() == "")
    }

    private func reload(_ machine: TestMachine) throws {
        let result = try machine.shell(
            """
            rmmod penumbra && [ ! -e /dev/penumbra ] && insmod /modules/penumbra.ko &&
            penumbra guest /tmp/cpl3.elf
            """)
        #expect(result.status == 0, "\(result.output)\(result.errors)")
    }
}
