// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraImages

struct ImageTagCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tag", abstract: "Give an image one more name; another image that had it loses it.")

    @OptionGroup var place: MachineOption

    @OptionGroup var image: ImageArgument

    @Argument(help: "The name.")
    var name: String

    func validate() throws { _ = try ImageReference(name) }

    func run() throws {
        try ContainerPlace.perform(at: place) {
            try Images.store().tag(image.image, as: try ImageReference(name))
        }
    }
}
