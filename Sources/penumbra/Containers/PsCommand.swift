// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

struct PsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ps",
        abstract: "List the containers that run, and the VMs of 'penumbra boot' and 'sandbox'.")

    @Flag(name: [.short, .long], help: "Containers that do not run too.")
    var all = false

    @Flag(name: [.short, .long], help: "Print containers' ids only.")
    var quiet = false

    @Flag(help: "Do not cut ids and commands short.")
    var noTrunc = false

    @OptionGroup var place: MachineOption
    @OptionGroup var format: ListFormatOption

    func run() throws {
        let flags = (all ? ["--all"] : []) + (quiet ? ["--quiet"] : []) + (noTrunc ? ["--no-trunc"] : [])
        try GuestReport.exit(at: place, forwarding: ["ps"] + flags + ["--format", format.format]) {
            let containers = try Containers.store().list(complain: Output.note)
                .filter { all || $0.state.isRunning }
            let rows = ContainerRow.rows(containers, now: .now, isWhole: noTrunc)
            if quiet {
                try format.write(rows.map(\.id))
            } else {
                let all = rows + (try RunningGuests.list()).map { ContainerRow($0, now: .now) }
                try format.write(all.map(\.json), table: ContainerRow.table(all))
            }
            return 0
        }
    }
}

/// VMs that are no containers.
enum RunningGuests {
    /// One that ends meanwhile, or does not answer, is left out; the latter with a word about it.
    static func list() throws -> [GuestStatus] {
        let directory = RunDirectory()
        return try directory.names().compactMap { name in
            do {
                return try directory.connect(to: GuestName(name)).status()
            } catch RunDirectory.Problem.notRunning {
                return nil
            } catch {
                Output.note("\(error)")
                return nil
            }
        }
    }
}
