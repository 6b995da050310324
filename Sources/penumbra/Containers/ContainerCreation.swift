// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraImages
import PenumbraSystem
import PenumbraVMM

/// An image, a command and options become a container.
struct ContainerCreation {
    let options: ContainerOptions
    let image: String
    let command: [String]

    /// Makes the container, with its disk.
    func create() throws -> ContainerConfiguration {
        let store = try Containers.store()
        let images = try ImageStore(path: DataDirectory().images)
        // Made first: nothing that takes long is done while the image is held.
        _ = try images.rootFileSystem(of: images.resolve(image), progress: Output.note)
        let kernel = try ContainerKernel.bundle(options.kernel).name
        return try images.retaining(image) { image in
            let configuration = try configuration(
                image, name: try options.name.map { try ContainerName($0) } ?? store.freeName(),
                kernel: kernel)
            try store.create(configuration) { try WritableLayer.make(at: $0) }
            return configuration
        }
    }

    /// What the user says goes before what the image says. An entry point of the user's also takes the
    /// image's command away.
    func configuration(
        _ image: Image, name: ContainerName, kernel: String
    ) throws -> ContainerConfiguration {
        let own = image.configuration
        let entrypoint = options.entrypoint.map { $0.isEmpty ? [] : [$0] }
        let arguments = command.isEmpty && entrypoint == nil ? own.command : command
        var configuration = ContainerConfiguration(
            id: .random(), name: name, created: .now, image: self.image, imageID: image.id.description,
            entrypoint: entrypoint ?? own.entrypoint, command: arguments,
            memory: try MemorySize(options.memory).bytes, kernel: kernel)
        guard !configuration.arguments.isEmpty else {
            throw ContainerError.refused(
                "image '\(self.image)' names no command: give one behind the image's name")
        }
        configuration.cpus = try options.cpuCount()
        configuration.environment = Self.merged(
            own.environment, try options.environment(lookup: environmentVariable))
        configuration.directory =
            options.workdir ?? (own.workingDirectory.isEmpty ? "/" : own.workingDirectory)
        configuration.user = options.user ?? own.user
        configuration.hostname = options.hostname ?? configuration.hostname
        configuration.hasTerminal = options.tty
        configuration.keepsInputOpen = options.interactive
        configuration.stopSignal =
            try (options.stopSignal ?? own.stopSignal).map(SignalName.number) ?? SIGTERM
        configuration.limits = try options.limits()
        configuration.capabilities = try options.capabilities().rawValue
        configuration.isReadOnly = options.readOnly
        (configuration.memoryMounts, configuration.volumeMounts) = try options.mounts()
        try Self.check(configuration.volumeMounts)
        configuration.network = options.network
        configuration.publishedPorts = options.publish
        configuration.logLimits = try LogLimits(options: options.logOpt)
        configuration.labels = own.labels.reduce(into: [:]) { $0[$1.name] = $1.value }
            .merging(try options.labels()) { $1 }
        configuration.isRemovedAtEnd = options.isRemovedAtEnd
        return configuration
    }

    /// A directory that is not there is a slip of the pen: it is not made, as a volume is.
    private static func check(_ mounts: [ContainerConfiguration.VolumeMount]) throws {
        guard mounts.count <= VolumeShare.limit else {
            throw ContainerError.badOption(
                "--volume", reason: "\(mounts.count) are too many: a container has up to \(VolumeShare.limit)"
            )
        }
        for case .directory(let path) in mounts.map(\.source) where !Files.isDirectory(path) {
            throw ContainerError.badOption("--volume", reason: "\(path) is no directory: make it first")
        }
    }

    /// The later of two values of a variable holds, in the earlier one's place.
    static func merged(_ base: [String], _ changes: [String]) -> [String] {
        func name(_ text: String) -> Substring { text.prefix { $0 != "=" } }
        return changes.reduce(into: base) { variables, change in
            if let index = variables.firstIndex(where: { name($0) == name(change) }) {
                variables[index] = change
            } else {
                variables.append(change)
            }
        }
    }

    /// The options once more, with all that is this side's resolved, for the penumbra in the machine.
    func words() throws -> [String] {
        let options = options
        var words = [
            "--memory=\(options.memory)", "--cpus=\(options.cpus)", "--network=\(options.network.rawValue)",
        ]
        if options.interactive { words.append("--interactive") }
        if options.tty { words.append("--tty") }
        if options.isRemovedAtEnd { words.append("--rm") }
        if options.readOnly { words.append("--read-only") }
        // In two words: a value may be empty, or begin with a dash.
        func add(_ name: String, _ value: String?) { if let value { words += ["--\(name)", value] } }
        func addAll(_ name: String, _ values: [String]) {
            for value in values { words.append("--\(name)=\(value)") }
        }
        add("name", options.name)
        add("user", options.user)
        add("workdir", options.workdir)
        add("entrypoint", options.entrypoint)
        add("hostname", options.hostname)
        add("stop-signal", options.stopSignal)
        addAll("env", try options.environment(lookup: environmentVariable))
        addAll("publish", options.publish)
        addAll("tmpfs", options.tmpfs)
        addAll("volume", try options.volumesForMachine())
        addAll("mount", options.mount.filter { (try? MountOption($0).memory) != nil })
        addAll("cap-add", options.capAdd)
        addAll("cap-drop", options.capDrop)
        addAll("ulimit", options.ulimit)
        addAll("label", options.label)
        addAll("log-opt", options.logOpt)
        return words
    }
}
