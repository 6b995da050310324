// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraImages
import PenumbraMachine
import PenumbraSystem

struct ImageLoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load",
        abstract:
            "Add images from an OCI layout, or from an archive of 'docker save' or 'penumbra image save'.",
        discussion: "Archives may be packed with gzip or zstd.")

    @Option(
        name: [.short, .long], help: "The archive or layout; '-' is standard input.", completion: .file())
    var input: String?

    @Option(help: "A name for the image, in place of those that the archive gives.")
    var name: String?

    @Flag(name: [.short, .long], help: "Print no progress.")
    var quiet = false

    @OptionGroup var place: MachineOption

    /// For the penumbra outside a machine, which has made the file systems already.
    @Flag(help: .private)
    var readyRoots = false

    @Argument(help: "The same as --input.", completion: .file())
    var path: String?

    func validate() throws {
        if let name { _ = try ImageReference(name) }
        if input != nil && path != nil { throw ValidationError("give one archive") }
    }

    func run() throws {
        switch try ContainerPlace.choose(place) {
        case .thisHost: try load()
        case .machine(let connection): try load(in: connection)
        }
    }

    /// An archive is read out here; a layout is made one.
    private func load(in connection: Connection) throws {
        let preparation = try MachinePreparation(connection, place)
        let source = input ?? path ?? "-"
        if Files.isDirectory(source) {
            return try preparation.send(progress: Images.progress(isQuiet: quiet)) { store, progress in
                let images = try store.load(
                    from: source, named: try name.map { try ImageReference($0) }, progress: progress)
                for image in images { try Output.print(Self.line(image)) }
                return images.map(\.id.description)
            }
        }
        let archive = source == "-" ? Descriptor(adopting: 0) : try Descriptor(path: source, flags: O_RDONLY)
        let options = (name.map { ["--name=\($0)"] } ?? []) + (quiet ? ["--quiet"] : [])
        try preparation.load(archive, options: options, output: Output.standard.write)
    }

    private func load() throws {
        let images = try Images.store().load(
            from: input ?? path ?? "-", named: try name.map { try ImageReference($0) },
            readyRoots: readyRoots ? .included : .ignored,
            progress: Images.progress(isQuiet: quiet))
        for image in images { try Output.print(Self.line(image)) }
    }

    private static func line(_ image: Image) -> String {
        guard !image.references.isEmpty else { return "Loaded image ID: \(image.id)" }
        return image.references.map { "Loaded image: \($0.familiar)" }.joined(separator: "\n")
    }
}
