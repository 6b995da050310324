// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

extension StressTests {
    @Test(
        "Machine checks reach the host from guest and core; only the VMM whose memory is bad dies of one",
        arguments: [Scale.recovering("6.1", 2), Scale.recovering("6.12", 1)])
    func machineChecks(_ kind: MachineKind) throws {
        let machine = try TestMachine(kind)
        try machine.install(guests: ["loop-user", "syscall-storm", "cpl3"])
        try machine.install(programs: ["bad_memory"])
        let before = try Interrupts(of: machine)
        try survivable(machine)
        let spinning = try deadly(machine, guest: "spin", at: .guest, status: 128 + SIGBUS)
        #expect(!spinning.contains("exit"), "\(spinning)")
        // The first is PENUMBRA_EXIT_CRASH, the second PENUMBRA_CRASH_MACHINE_CHECK.
        let calling = try deadly(machine, guest: "storm", at: .core, status: 0)
        #expect(calling.hasSuffix("exit 13 crash 25 bus-errors 1\n"), "\(calling)")
        #expect(try Interrupts(of: machine).growth("MCE", since: before).first == 4)
        #expect(try machine.shell("penumbra guest /tmp/cpl3.elf").status == 0)
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
    }

    /// Errors that a scrubber finds; nobody has used what is bad. One comes while a guest's own code runs,
    /// the other while the core does.
    private func survivable(_ machine: TestMachine) throws {
        let monitor = try Monitor(of: machine)
        for (guest, place) in [("loop-user", Place.guest), ("syscall-storm", Place.core)] {
            let jobs = try machine.begin([
                Job(
                    name: guest, command: "taskset 1 penumbra guest /tmp/\(guest).elf --counters --timeout=6",
                    status: 124)
            ])
            try machine.waitForGuest()
            // Corrected: raises nothing, the kernel finds it when it polls.
            try monitor.order(MachineCheck.corrected.order(address: 0x1000_0000))
            try monitor.order(MachineCheck.optional.order(address: 0x1000_0000), when: place.holds)
            let outputs = try jobs.results()
            #expect(counter("exit_mce", in: outputs[guest]) == (place == .guest ? 1 : 0))
        }
    }

    /// An error in what the guest or the core is using: the kernel says what becomes of its VMM. What that
    /// printed.
    private func deadly(_ machine: TestMachine, guest: String, at place: Place, status: Int32) throws
        -> String
    {
        let monitor = try Monitor(of: machine)
        let jobs = try machine.begin([
            Job(name: "bad", command: "taskset 1 timeout 60 /tmp/bad_memory \(guest)", status: status)
        ])
        try machine.waitForGuest()
        let printed = try machine.shell("cat /tmp/bad.out").output
        let address = printed.split(separator: " ").last?.dropFirst(2).dropLast()
            .description
        let physical = try #require(address.flatMap { UInt64($0, radix: 16) }, "\(printed)")
        try monitor.order(MachineCheck.required.order(address: physical), when: place.holds)
        return try jobs.results()["bad"] ?? ""
    }
}

/// Where CPU 0 is when a machine check comes.
private enum Place {
    case guest, core

    /// The guests here lie low; the core's slot of the address space is PENUMBRA_CORE_BASE's.
    func holds(_ address: UInt64, _ level: Int) -> Bool {
        switch self {
        case .guest: level == 3 && Self.guestCode.contains(address)
        case .core: level == 0 && address >> 39 == 0xffff_8280_0000_0000 >> 39
        }
    }

    /// Where the kit links guests, and programs that the machine runs are not.
    private static let guestCode: Range<UInt64> = 0x1000..<0x40_0000
}

/// What bank 5 of CPU 0 reports (SDM vol. 3, 16.3.2 and 16.9): the status of the bank and of the processor.
private enum MachineCheck {
    case corrected, optional, required

    private var registers: (bank: UInt64, processor: UInt64) {
        switch self {
        case .corrected: (0x9c00_0000_0000_00c0, 0)
        // Scrubbing found it: S set, AR clear. The processor can go on at RIP.
        case .optional: (0xbd00_0000_0000_00c0, 0b101)
        // A load of data hit it: S and AR set; RIP is where it did.
        case .required: (0xbd80_0000_0000_0134, 0b111)
        }
    }

    /// The error is at that physical address, and that is known to a page's width (MISC).
    func order(address: UInt64) -> String {
        let words = [registers.bank, registers.processor, address, 0x8c].map { "0x" + String($0, radix: 16) }
        let everywhere = self == .corrected ? "" : "-b "
        return "mce \(everywhere)0 5 " + words.joined(separator: " ")
    }
}

extension TestMachine {
    /// Waits until some VM runs.
    fileprivate func waitForGuest() throws {
        let started = try shell(
            """
            for try in $(seq 100); do
                penumbra info | grep -q '^vcpus: [1-9]' && exec sleep 0.5
                usleep 100000
            done
            exit 1
            """)
        guard started.status == 0 else {
            throw HostPrograms.Failure(description: "no guest runs: \(started.errors)")
        }
    }
}
