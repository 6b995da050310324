// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraImages

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

    @Argument(help: "The same as --input.", completion: .file())
    var path: String?

    func validate() throws {
        if let name { _ = try ImageReference(name) }
        if input != nil && path != nil { throw ValidationError("give one archive") }
    }

    func run() throws {
        let images = try Images.store().load(
            from: input ?? path ?? "-", named: try name.map { try ImageReference($0) },
            progress: Images.progress(isQuiet: quiet))
        for image in images { try Output.print(Self.line(image)) }
    }

    private static func line(_ image: Image) -> String {
        guard !image.references.isEmpty else { return "Loaded image ID: \(image.id)" }
        return image.references.map { "Loaded image: \($0.familiar)" }.joined(separator: "\n")
    }
}
