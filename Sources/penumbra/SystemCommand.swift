// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraImages
import PenumbraSystem

struct SystemCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "system", abstract: "What images, containers and volumes take on the disk.",
        subcommands: [SystemDiskUsageCommand.self, SystemPruneCommand.self])
}

struct SystemDiskUsageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "df", abstract: "Print what takes how much room, and how much of it is not in use.")

    @Flag(name: [.short, .long], help: "A line for each image, container and volume.")
    var verbose = false

    @OptionGroup var place: MachineOption
    @OptionGroup var format: ListFormatOption

    func validate() throws {
        if verbose && format.format != "table" { throw ValidationError("--verbose is a table always") }
    }

    func run() throws {
        try ContainerPlace.perform(at: place) {
            let usage = try DiskUsage.measure()
            if verbose { return try Output.print(usage.details(now: .now)) }
            try format.write(usage.rows.map(\.json), table: DiskUsage.table(usage.rows))
        }
    }
}

struct SystemPruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Remove containers that do not run, and images that have no name and no container.")

    @Flag(name: [.short, .long], help: "All images without a container, whether they have a name or not.")
    var all = false

    @Flag(name: [.short, .long], help: "Do not ask.")
    var force = false

    @Flag(help: "Volumes that no container mounts, too.")
    var volumes = false

    @OptionGroup var place: MachineOption

    func run() throws {
        try GuestReport.exit(failure: 1) {
            guard try force || isWanted() else {
                Output.note("nothing was removed")
                return 1
            }
            switch try ContainerPlace.choose(place) {
            case .thisHost: return try prune()
            case .machine(let connection):
                return try ContainerPlace.forward(
                    ["system", "prune", "--force"] + (all ? ["--all"] : []) + (volumes ? ["--volumes"] : []),
                    to: connection)
            }
        }
    }

    private func isWanted() throws -> Bool {
        let what =
            ["all containers that do not run"]
            + (volumes ? ["all volumes that no container mounts, with what is in them"] : [])
            + [all ? "all images without a container" : "all images without a name and a container"]
        try Output.standard.write(
            Array(
                """
                WARNING! This will remove:
                \(what.map { "  - \($0)" }.joined(separator: "\n"))

                Are you sure you want to continue? [y/N]\u{20}
                """.utf8))
        return readLine()?.lowercased().hasPrefix("y") ?? false
    }

    /// Containers first: what they use is in use no more then.
    private func prune() throws -> Int32 {
        let containers = try Containers.store()
        var (removed, freed) = try containers.prune(complain: Output.note)
        try list("Deleted Containers:", removed.map(\.text))
        if volumes {
            let (names, size) = try Volumes.store().prune(in: containers)
            freed += size
            try list("Deleted Volumes:", names.map(\.text))
        }
        let images = try Images.store().prune(all: all, inUse: Images.users)
        freed += images.freed
        let lines = ImageRemoveCommand.lines(images.removal)
        try list("Deleted Images:", lines.isEmpty ? [] : [lines])
        try Output.print("Total reclaimed space: \(ByteCount.text(freed))")
        return 0
    }

    private func list(_ title: String, _ lines: [String]) throws {
        if !lines.isEmpty { try Output.print(([title] + lines).joined(separator: "\n") + "\n") }
    }
}
