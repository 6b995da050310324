// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraImages
import PenumbraSystem

struct ImageInspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Print all there is to know about images, as JSON.")

    @Option(help: "A template for each image, such as '{{.Config.User}}', in place of JSON.")
    var format: String?

    @OptionGroup var place: MachineOption

    @Argument(
        help: "Names, ids, or beginnings of ids.", completion: .custom { _, _, _ in Images.names() })
    var images: [String]

    func validate() throws { if let format { _ = try OutputTemplate(format) } }

    func run() throws { try ContainerPlace.perform(at: place, here: inspect) }

    private func inspect() throws {
        let store = try Images.store()
        let values = try images.map(store.inspect)
        if let format {
            let template = try OutputTemplate(format)
            for value in values { try Output.print(try template.text(value)) }
        } else {
            try Output.print(JSON.array(values).indented)
        }
    }
}
