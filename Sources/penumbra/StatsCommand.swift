// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraVMM

struct StatsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats",
        abstract: "Print a running VM's counters since its start.",
        discussion: """
            exit_*: exits to the host by reason. page_faults, guest_faults, spurious_faults, shadow_fills: \
            faults by kind. shadow_pages_*, table_pages, pool_pages: the core's tables, in pages of 4 KiB. \
            pinned_pages: the guest's memory that is in use.
            """)

    @OptionGroup var guest: GuestArgument
    @OptionGroup var format: FormatOption

    func run() throws {
        try guest.run("stats", ["--format=\(format.format.rawValue)"]) { client in
            guard let counters = try client.counters() else {
                throw RunDirectory.Problem.notRunning(guest.name)
            }
            try format.print(counters.map { ($0.name, .number($0.value)) })
            return 0
        }
    }
}
