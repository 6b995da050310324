// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraImages
import PenumbraMachine
import PenumbraSystem

struct ImageSaveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "save", abstract: "Write images as an archive: an OCI layout that docker loads too.")

    @Option(name: [.short, .long], help: "The archive; without this, standard output.", completion: .file())
    var output: String?

    @OptionGroup var place: MachineOption

    /// For a store in a machine, which takes longer to make file systems.
    @Flag(help: .private)
    var readyRoots = false

    @Argument(
        help: "Names, ids, or beginnings of ids.", completion: .custom { _, _, _ in Images.names() })
    var images: [String]

    func run() throws {
        let place = try ContainerPlace.choose(place)
        guard let output, output != "-" else {
            guard isatty(STDOUT_FILENO) == 0 else {
                throw ValidationError("an archive is nothing for a terminal: name a file with --output")
            }
            return try save(place, to: Output.standard)
        }
        try Self.write(output) { try save(place, to: $0) }
    }

    private func save(_ place: ContainerPlace, to output: Descriptor) throws {
        switch place {
        case .thisHost:
            let roots: ImageStore.ReadyRoots = readyRoots ? .included : .ignored
            try Images.store().save(images, readyRoots: roots, to: output)
        case .machine(let connection):
            let end = try connection.run(
                Command(["penumbra", "image", "save"] + images),
                streams: Connection.Streams { try ($0 == .standard ? output : Output.error).write($1) })
            if end != .exited(0) { throw ExitCode(end.exitCode) }
        }
    }

    /// The file is there when it is whole.
    private static func write(_ path: String, _ body: (Descriptor) throws -> Void) throws {
        let partial = path + ".partial"
        let file = try Descriptor(path: partial, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
        do {
            try body(file)
            try retrying("rename", path) { Int(rename(partial, path)) }
        } catch {
            Files.remove(partial)
            throw error
        }
    }
}
