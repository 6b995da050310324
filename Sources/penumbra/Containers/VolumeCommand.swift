// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers
import PenumbraSystem

struct VolumeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volume",
        abstract: "Volumes: directories that outlive containers.",
        subcommands: [
            VolumeListCommand.self, VolumeCreateCommand.self, VolumeInspectCommand.self,
            VolumeRemoveCommand.self, VolumePruneCommand.self,
        ])
}

/// What the verbs of volumes have in common.
enum Volumes {
    static func store() throws -> VolumeStore { try VolumeStore(DataDirectory()) }

    static func json(_ name: VolumeName, _ store: VolumeStore) -> JSON {
        .object([
            ("Name", .string(name.text)), ("Driver", .string("local")),
            ("Mountpoint", .string(store.directory(of: name))),
        ])
    }
}

struct VolumeListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List volumes.", aliases: ["list"])

    @Flag(name: [.short, .long], help: "Print names only.")
    var quiet = false

    @OptionGroup var place: MachineOption
    @OptionGroup var format: ListFormatOption

    func run() throws {
        try ContainerPlace.perform(at: place) {
            let store = try Volumes.store()
            let names = store.list()
            if quiet { return try format.write(names.map(\.text)) }
            let table = ["DRIVER    VOLUME NAME"] + names.map { "local     \($0.text)" }
            try format.write(
                names.map { Volumes.json($0, store) }, table: table.joined(separator: "\n"))
        }
    }
}

struct VolumeCreateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a volume; one that is there stays as it is.")

    @OptionGroup var place: MachineOption

    @Argument(help: "The volume's name.")
    var name: String

    func validate() throws { _ = try VolumeName(name) }

    func run() throws {
        try ContainerPlace.perform(at: place) {
            try Volumes.store().create(VolumeName(name))
            try Output.print(name)
        }
    }
}

struct VolumeInspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Print what is known of volumes.")

    @OptionGroup var place: MachineOption
    @OptionGroup var arguments: VolumeArguments

    func run() throws {
        try ContainerPlace.perform(at: place) {
            let store = try Volumes.store()
            try Output.print(
                JSON.array(
                    arguments.names().map { name in
                        guard Files.exists(store.directory(of: name)) else {
                            throw ContainerError.unknownVolume(name.text)
                        }
                        return Volumes.json(name, store)
                    }
                ).indented)
        }
    }
}

struct VolumeRemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove volumes, with all that is in them.", aliases: ["remove"])

    @OptionGroup var place: MachineOption
    @OptionGroup var arguments: VolumeArguments

    func run() throws {
        try ContainerPlace.perform(at: place) {
            let store = try Volumes.store()
            for name in try arguments.names() {
                try store.remove(name, unlessUsedIn: Containers.store())
                try Output.print(name.text)
            }
        }
    }
}

struct VolumePruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune", abstract: "Remove all volumes that no container mounts.")

    @OptionGroup var place: MachineOption

    func run() throws {
        try ContainerPlace.perform(at: place) {
            for name in try Volumes.store().prune(in: Containers.store()).removed {
                try Output.print(name.text)
            }
        }
    }
}

struct VolumeArguments: ParsableArguments {
    @Argument(help: "Volumes, by name.")
    var volumes: [String]

    func validate() throws { _ = try names() }

    func names() throws -> [VolumeName] { try volumes.map { try VolumeName($0) } }
}
