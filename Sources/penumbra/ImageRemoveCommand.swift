// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraImages

struct ImageRemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove names, and images with their last name.", aliases: ["remove"])

    @Flag(name: [.short, .long], help: "Remove an image that has several names, by its id.")
    var force = false

    @OptionGroup var place: MachineOption

    @Argument(
        help: "Names, ids, or beginnings of ids.", completion: .custom { _, _, _ in Images.names() })
    var images: [String]

    func run() throws { try ContainerPlace.perform(at: place, here: remove) }

    private func remove() throws {
        let store = try Images.store()
        var hasFailed = false
        for image in images {
            do {
                try Output.print(
                    Self.lines(try store.remove(image, force: force, inUse: Images.users)))
            } catch let error as ImageError {
                // The others are removed all the same.
                Output.note("\(error)")
                hasFailed = true
            }
        }
        if hasFailed { throw ExitCode(1) }
    }

    static func lines(_ removal: ImageStore.Removal) -> String {
        (removal.untagged.map { "Untagged: \($0.familiar)" } + removal.deleted.map { "Deleted: \($0)" })
            .joined(separator: "\n")
    }
}
