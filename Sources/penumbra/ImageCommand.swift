// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers
import PenumbraImages

struct ImageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image",
        abstract: "Images: what containers are made of.",
        subcommands: [
            ImageListCommand.self, ImageInspectCommand.self, ImageLoadCommand.self, ImageSaveCommand.self,
            ImagePullCommand.self, ImageBuildDebianCommand.self, ImageTagCommand.self,
            ImageRemoveCommand.self, ImagePruneCommand.self,
        ])
}

/// What the verbs of images have in common.
enum Images {
    static func store() throws -> ImageStore { try ImageStore(path: try DataDirectory().images) }

    /// Names of the containers that keep an image.
    static func users(of image: Image.ID) throws -> [String] {
        try ContainerStore(try DataDirectory()).list(complain: Output.note)
            .filter { $0.configuration.imageID == image.description }.map(\.name)
    }

    /// Lines on standard error, unless they are not wanted.
    static func progress(isQuiet: Bool) -> (String) -> Void {
        { line in if !isQuiet { Output.note(line) } }
    }

    /// A verb that is interrupted leaves as programs do.
    static func interruptible<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let interruption as Interrupted {
            throw ExitCode(ExitStatus.interrupted(by: interruption.signal))
        }
    }

    /// Completions: all names.
    static func names() -> [String] {
        ((try? store().list()) ?? []).flatMap(\.references).map(\.familiar).sorted()
    }
}

/// An image that must be there.
struct ImageArgument: ParsableArguments {
    @Argument(
        help: "A name, an id, or the beginning of one.",
        completion: .custom { _, _, _ in Images.names() })
    var image: String
}
