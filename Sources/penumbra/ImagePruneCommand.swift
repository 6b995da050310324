// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraImages

struct ImagePruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune", abstract: "Remove images that have no name and no container.")

    @Flag(name: [.short, .long], help: "Also those that have a name.")
    var all = false

    @Flag(name: [.short, .long], help: "Do not ask; this verb never does.")
    var force = false

    @OptionGroup var place: MachineOption

    func run() throws { try ContainerPlace.perform(at: place, here: prune) }

    private func prune() throws {
        let (removal, freed) = try Images.store().prune(all: all, inUse: Images.users)
        if !removal.deleted.isEmpty { try Output.print(ImageRemoveCommand.lines(removal)) }
        try Output.print("Total reclaimed space: \(ByteCount.text(freed))")
    }
}
