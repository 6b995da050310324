// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraImages
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

/// Gives a machine what a container is made of and what only this side has: the kernel, and an image
/// that has to be pulled, since the user's network and credentials are out here.
struct MachinePreparation {
    private static let kernels = "/var/lib/penumbra/kernels"

    let connection: Connection

    /// A machine without a disk has no room for images.
    init(_ connection: Connection, _ option: MachineOption) throws {
        let name = option.machine ?? StateDirectory.defaultName
        let settings = try Machine(name: name).status().settings
        guard settings.contains(where: { $0.name == "disk" && $0.value != "none" }) else {
            throw MachineError.refused(
                "machine '\(name)' has no disk for images and containers: stop it, and start it with --disk 20G"
            )
        }
        self.connection = connection
    }

    /// Has the kernel's bundle in the machine; returns its name. One that is there is not sent again: a
    /// bundle's name says what is in it.
    func provide(kernel: String?) throws -> String {
        let bundle = try ContainerKernel.bundle(kernel)
        let there = "\(Self.kernels)/\(bundle.name)"
        // Put last: without it there is no bundle.
        let mark = "release"
        guard try !succeeds("test", "-e", "\(there)/\(mark)") else { return bundle.name }
        Output.note("the machine gets the kernel \(bundle.release)")
        guard try succeeds("mkdir", "-p", there) else {
            throw MachineError.refused("the machine's disk takes no kernel: is it full?")
        }
        let files = Files.list(bundle.directory).filter { $0 != mark } + [mark]
        for file in files {
            try connection.put(Files.read("\(bundle.directory)/\(file)"), to: "\(there)/\(file)")
        }
        return bundle.name
    }

    /// Has the image in the machine: pulled out here if nobody has it there.
    func provide(image: String) throws {
        guard try !succeeds("penumbra", "image", "inspect", image) else { return }
        let reference = try ImageReference(image)
        Output.note("the machine has no image '\(image)': pulling it")
        try send(progress: Output.note) { store, progress in
            _ = try store.pull(reference, progress: progress)
            return [reference.description]
        }
    }

    /// Makes images in a store out here, which lasts as long as this call, and loads them in the machine.
    /// `make` returns their names.
    func send(
        progress: @escaping (String) -> Void,
        _ make: (ImageStore, _ progress: @escaping (String) -> Void) throws -> [String]
    ) throws {
        let directory = try TemporaryDirectory()
        let store = try ImageStore(path: directory.path + "/images")
        let names = try make(store, progress)
        let archive = directory.path + "/archive"
        try store.save(names, to: Descriptor(path: archive, flags: O_WRONLY | O_CREAT, mode: 0o600))
        try load(Descriptor(path: archive, flags: O_RDONLY), options: ["--quiet"]) { _ in }
    }

    /// Loads an archive in the machine; `output` takes what that says.
    func load(_ archive: Descriptor, options: [String], output: @escaping ([UInt8]) throws -> Void) throws {
        var complaints: [UInt8] = []
        let end = try connection.run(
            Command(["penumbra", "image", "load"] + options),
            streams: Connection.Streams(input: archive) { stream, bytes in
                if stream == .standard { try output(bytes) } else { complaints += bytes }
            })
        try Output.error.write(complaints)
        guard end == .exited(0) else { throw ExitCode(end.exitCode) }
    }

    private func succeeds(_ words: String...) throws -> Bool {
        try connection.run(Command(words), streams: Connection.Streams { _, _ in }) == .exited(0)
    }
}
