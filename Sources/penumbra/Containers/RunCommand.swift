// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraMachine
import PenumbraSystem

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a program of an image in a container: a VM of its own.",
        usage: "penumbra run [OPTION ...] IMAGE [COMMAND [ARGUMENT ...]]",
        discussion: """
            Exits with the program's status, 128 + n if signal n ended it, 127 if it is not there, 126 if it \
            cannot be executed, 125 if penumbra could not do its part. With --tty, Control-P Control-Q \
            leaves the program running.
            """)

    @Flag(name: [.short, .long], help: "Leave the program running and print the container's id.")
    var detach = false

    @OptionGroup var options: ContainerOptions
    @OptionGroup var place: MachineOption
    @OptionGroup var words: ImageAndCommand

    func validate() throws {
        if detach && options.isRemovedAtEnd && options.name == nil { return }
        try words.validate()
    }

    private var creation: ContainerCreation {
        ContainerCreation(options: options, image: words.image, command: words.command)
    }

    func run() throws {
        try GuestReport.exit {
            try Terminals.requireOurs(input: options.interactive, terminal: options.tty, isDetached: detach)
            switch try ContainerPlace.choose(place) {
            case .thisHost: return try runHere()
            case .machine(let connection):
                let preparation = try MachinePreparation(connection, place)
                let kernel = try preparation.provide(kernel: options.kernel)
                try preparation.provide(image: words.image)
                return try ContainerPlace.forward(
                    ["run"] + (detach ? ["--detach"] : []) + creation.words() + ["--kernel=\(kernel)"]
                        + ["--", words.image] + words.command,
                    to: connection, terminal: options.tty && !detach && Terminals.areOurs,
                    readsInput: options.interactive && !detach)
            }
        }
    }

    private func runHere() throws -> Int32 {
        let configuration = try creation.create()
        let start = ContainerStart(
            id: configuration.id, takesInput: options.interactive && !detach, store: try Containers.store())
        if !detach { return try start.attached() }
        try start.detached()
        try Output.print(configuration.id.text)
        return 0
    }
}

/// IMAGE [COMMAND ...]: what follows the image is the program's, options and all.
struct ImageAndCommand: ParsableArguments {
    @Argument(parsing: .captureForPassthrough, help: "The image, the program and its arguments.")
    var words: [String] = []

    /// Without the "--" that may stand before the image.
    private var whole: ArraySlice<String> { words.first == "--" ? words.dropFirst() : words[...] }

    var image: String { whole.first ?? "" }
    var command: [String] { Array(whole.dropFirst()) }

    func validate() throws {
        guard let first = whole.first else { throw ValidationError("give an image's name") }
        // Options before the image are all known to the parser: this one it could not place.
        if first.hasPrefix("-") { throw ValidationError("unknown option '\(first)'") }
    }
}

extension Terminals {
    /// A terminal is not to be had from a pipe.
    static func requireOurs(input: Bool, terminal: Bool, isDetached: Bool) throws {
        guard input, terminal, !isDetached, isatty(STDIN_FILENO) == 0 else { return }
        throw ContainerError.badOption("--tty", reason: "the input is no terminal: leave --tty out")
    }
}
