// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraImages

/// Both `penumbra pull` and `penumbra image pull`.
struct ImagePullCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull",
        abstract: "Get an image from its registry.",
        discussion: """
            skopeo does it, with the credentials of 'skopeo login' (or docker's), and the mirrors of \
            containers-registries.conf(5). '-' loads an archive from standard input.
            """)

    @Flag(name: [.short, .long], help: "Print no progress.")
    var quiet = false

    @Option(help: "Whether the registry's certificate is checked (true, false).")
    var tlsVerify: Bool?

    @OptionGroup var place: MachineOption

    @Argument(help: "The image's name; without a registry, one of docker.io.")
    var name: String

    func validate() throws { if name != "-" { _ = try ImageReference(name) } }

    func run() throws {
        switch try ContainerPlace.choose(place) {
        case .thisHost: try pull()
        case .machine(let connection) where name == "-":
            let status = try ContainerPlace.forward(["pull", "-"], to: connection, readsInput: true)
            if status != 0 { throw ExitCode(status) }
        case .machine(let connection):
            try MachinePreparation(connection, place).send(progress: Images.progress(isQuiet: quiet)) {
                let image = try pull(into: $0, progress: $1)
                try Output.print("\(image.id)")
                return [try ImageReference(name).description]
            }
        }
    }

    private func pull() throws {
        let progress = Images.progress(isQuiet: quiet)
        let store = try Images.store()
        if name == "-" {
            for image in try store.load(from: name, progress: progress) { try Output.print("\(image.id)") }
            return
        }
        try Output.print("\(try pull(into: store, progress: progress).id)")
    }

    private func pull(into store: ImageStore, progress: @escaping (String) -> Void) throws -> Image {
        try Images.interruptible {
            try store.pull(
                try ImageReference(name), from: Registry(checksCertificates: tlsVerify), progress: progress)
        }
    }
}
