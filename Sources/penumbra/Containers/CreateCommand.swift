// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers

struct CreateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a container without starting it, and print its id.",
        usage: "penumbra create [OPTION ...] IMAGE [COMMAND [ARGUMENT ...]]")

    @OptionGroup var options: ContainerOptions
    @OptionGroup var place: MachineOption
    @OptionGroup var words: ImageAndCommand

    func run() throws {
        let creation = ContainerCreation(options: options, image: words.image, command: words.command)
        try GuestReport.exit {
            switch try ContainerPlace.choose(place) {
            case .thisHost:
                try Output.print(try creation.create().id.text)
                return 0
            case .machine(let connection):
                let preparation = try MachinePreparation(connection, place)
                let kernel = try preparation.provide(kernel: options.kernel)
                try preparation.provide(image: words.image)
                return try ContainerPlace.forward(
                    ["create"] + creation.words() + ["--kernel=\(kernel)", "--", words.image] + words.command,
                    to: connection)
            }
        }
    }
}
