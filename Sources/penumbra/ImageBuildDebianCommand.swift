// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraImages

struct ImageBuildDebianCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build-debian",
        abstract: "Make an image of Debian's packages, for hosts without a registry.",
        discussion: """
            mmdebstrap does it. The image has Debian's essential packages and apt, without manuals and \
            translations, and runs bash.
            """)

    @Option(help: "Debian's release.")
    var suite = "bookworm"

    @Option(help: "More packages, with commas between them.")
    var include: String?

    @Option(help: "Where packages come from; without this, from where this host's do.")
    var mirror: String?

    @Flag(name: [.short, .long], help: "Print no progress.")
    var quiet = false

    @OptionGroup var place: MachineOption

    @Argument(help: "The image's name.")
    var name: String

    func validate() throws { _ = try ImageReference(name) }

    func run() throws {
        switch try ContainerPlace.choose(place) {
        case .thisHost:
            try Output.print("\(try build(in: Images.store(), Images.progress(isQuiet: quiet)).id)")
        case .machine(let connection):
            try MachinePreparation(connection, place).send(progress: Images.progress(isQuiet: quiet)) {
                try Output.print("\(try build(in: $0, $1).id)")
                return [try ImageReference(name).description]
            }
        }
    }

    private func build(in store: ImageStore, _ progress: @escaping (String) -> Void) throws -> Image {
        let recipe = DebianImage(
            suite: suite, packages: (include ?? "").split(separator: ",").map(String.init), mirror: mirror)
        return try Images.interruptible {
            try store.build(
                recipe, named: try ImageReference(name), progress: progress,
                complaint: { bytes in if !quiet { try? Output.error.write(bytes) } })
        }
    }
}
