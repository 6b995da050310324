// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraImages
import PenumbraSystem

/// What a container's VM runs in; ContainerStarter starts it.
struct ContainerMonitorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "container-monitor", abstract: "Run a container's VM.", shouldDisplay: false)

    @Argument(help: "The container's id.")
    var id: String

    @Argument(help: "Of the starter's terminal: ROWSxCOLUMNS.")
    var size: String?

    func validate() throws {
        guard ContainerID(id) != nil else { throw ValidationError("'\(id)' is no container's id") }
        if let size, TerminalSize(size) == nil { throw ValidationError("'\(size)' is no ROWSxCOLUMNS") }
    }

    func run() throws {
        guard let id = ContainerID(id) else { return }
        let store = try Containers.store()
        try ContainerProcess(
            store: store, id: id, kernels: DataDirectory().kernels, volumes: VolumeStore(DataDirectory()),
            image: Self.rootFileSystem, terminal: size.flatMap { TerminalSize($0) }
        ).run()
    }

    /// An image that a container was made of stays as long as the container.
    private static func rootFileSystem(of image: String) throws -> String {
        let images = try ImageStore(path: DataDirectory().images)
        return try images.rootFileSystem(of: images.resolve(image))
    }
}
