// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraSystem
import PenumbraVMM

struct StatsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats",
        abstract: "Print what running containers take of the host, or another VM's counters.",
        discussion: """
            For containers: the CPU time of the last second, and the guest's memory that is in use. For a VM \
            of 'penumbra boot' or 'sandbox', counters since its start: exit_*: exits to the host by reason. \
            page_faults, guest_faults, spurious_faults, shadow_fills: faults by kind. shadow_pages_*, \
            table_pages, pool_pages: the core's tables, in pages of 4 KiB. pinned_pages: the guest's memory \
            that is in use.
            """)

    @OptionGroup var place: MachineOption
    @OptionGroup var format: ListFormatOption

    @Argument(
        help: "Containers, or one VM; else all containers that run.",
        completion: .custom { _, _, _ in Containers.names() })
    var names: [String] = []

    func run() throws {
        try GuestReport.exit(at: place, forwarding: ["stats", "--format", format.format] + names) {
            let store = try Containers.store()
            if names.count == 1, (try? store.find(names[0])) == nil,
                let client = try? RunningGuests.client(names[0])
            {
                return try counters(client, names[0])
            }
            let containers =
                try names.isEmpty ? store.list().filter(\.state.isRunning) : names.map(store.find)
            let rows = try UsageRow.measure(containers)
            try format.write(rows.map(\.json), table: UsageRow.table(rows))
            return 0
        }
    }

    private func counters(_ client: GuestClient, _ name: String) throws -> Int32 {
        guard let counters = try client.counters() else { throw ContainerError.unknown(name) }
        try format.write(
            [.object(counters.map { ($0.name, .number($0.value)) })],
            table: counters.map { "\($0.name): \($0.value)" }.joined(separator: "\n"))
        return 0
    }
}

/// What a container takes of the host, as a line of `penumbra stats`.
struct UsageRow: Equatable {
    /// Between two looks, in microseconds.
    private static let interval: UInt32 = 1_000_000

    let id: String
    let name: String
    /// Of one of the host's CPUs, in tenths of a percent.
    let processor: UInt64
    let memory: UInt64
    let memoryLimit: UInt64

    /// Looks twice; a container that does not run is an error.
    static func measure(_ containers: [Container]) throws -> [UsageRow] {
        let before = try containers.map { try MonitorClient(to: $0).usage() }
        let start = monotonicSeconds()
        if !containers.isEmpty { usleep(interval) }
        return try zip(containers, before).map { container, before in
            let usage = try MonitorClient(to: container).usage()
            let spent = Double(usage.processorTime - min(usage.processorTime, before.processorTime)) / 1e9
            return UsageRow(
                id: container.id.short, name: container.name,
                processor: UInt64((spent / (monotonicSeconds() - start) * 1000).rounded()),
                memory: usage.memory, memoryLimit: usage.memoryLimit)
        }
    }

    private var percent: String { "\(processor / 10).\(processor % 10)%" }
    private var use: String { "\(memory >> 20)MiB / \(memoryLimit >> 20)MiB" }

    var json: JSON {
        .object([
            ("ID", .string(id)), ("Name", .string(name)), ("CPUPerc", .string(percent)),
            ("MemUsage", .string(use)),
        ])
    }

    static func table(_ rows: [UsageRow]) -> String {
        Table.text(
            [["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT"]]
                + rows.map { [$0.id, $0.name, $0.percent, $0.use] })
    }
}
