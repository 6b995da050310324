// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

struct SandboxCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sandbox",
        abstract: "Run a command in a VM of its own, on a small root file system with busybox.",
        usage: "penumbra sandbox [OPTION ...] [-- COMMAND [ARGUMENT ...]]",
        discussion: """
            Without a command, a shell. If standard input and output are a terminal, the command gets it \
            (Control-] leaves it and ends the VM); else its input and its output pass unchanged, errors among \
            the output.

            Exits with the command's status, or as 'penumbra boot' does if the VM came to another end.
            """)

    /// Only what ends the guest is worth a line among the command's own.
    private static let commandLine = "console=hvc0 quiet loglevel=1"

    @Option(
        help:
            "A kernel that tools/fetch-packages has unpacked (6.1, 6.1-cloud, 6.12), or a kernel's file, with a '/' in its path.",
        completion: .file())
    var kernel = "6.1"

    @Option(help: "More for the kernel's command line.")
    var cmdline = ""

    @Option(help: "NAME=VALUE for the command's environment; repeat for more.")
    var env: [String] = []

    @Option(help: "The command's working directory.")
    var cwd = "/root"

    @Option(
        help: "FILE:PATH, a file of this host's and where it is in the guest; repeat for more.",
        completion: .file())
    var add: [String] = []

    /// For the penumbra in the machine: the finished root, and the terminal's size outside.
    @Option(help: .private)
    var root: String?
    @Option(help: .private)
    var size: String?

    @OptionGroup var options: LinuxGuestOptions

    @Argument(parsing: .postTerminator, help: "The command and its arguments.")
    var words: [String] = []

    func validate() throws { try guestRoot(hasTerminal: false).check() }

    func run() throws {
        try GuestReport.exit {
            switch try Place.choose(options.place) {
            case .thisHost: try runHere()
            case .machine(let connection): try run(on: connection)
            }
        }
    }

    private func runHere() throws -> Int32 {
        let terminal = size.flatMap { TerminalSize($0) } ?? Terminals.size
        let kernel = try kernelFile()
        let root =
            try root.map { try Files.read($0) }
            ?? guestRoot(hasTerminal: terminal != nil).build(Installation())
        return try LocalGuest(
            kernel: kernel, initrd: root, commandLine: Self.commandLine + " " + cmdline, options: options,
            session: GuestSession(terminal: terminal), inputEnds: terminal == nil
        ).run()
    }

    private func run(on connection: Connection) throws -> Int32 {
        let terminal = Terminals.size
        let kernel = try kernelFile()
        let root = try guestRoot(hasTerminal: terminal != nil).build(Installation())
        var options = options
        let name = try options.guestName().text
        options.name = name
        let machine = options.place.machine ?? StateDirectory.defaultName
        let words =
            options.words(kernel: kernel) + (cmdline.isEmpty ? [] : ["--cmdline=\(cmdline)"])
            + (terminal.map { ["--size=\($0.text)"] } ?? [])
        return try RemoteGuest(
            connection: connection, verb: "sandbox", options: words, input: terminal == nil ? .asItIs : .raw,
            whenResized: terminal == nil ? nil : { Self.passOnSize(to: name, in: machine) }
        ).run([("--kernel=", try Files.read(kernel)), ("--root=", root)])
    }

    /// Tells a VM in the machine, over a connection of its own. One that still starts keeps the size it
    /// was started with until the next change.
    private static func passOnSize(to name: String, in machine: String) {
        guard let size = TerminalSize(of: STDIN_FILENO) else { return }
        do {
            _ = try Machine(name: machine).connect().run(
                Command(["penumbra", "resize", "--here", name, size.text]),
                streams: Connection.Streams { _, _ in })
        } catch { Output.note("the guest does not know the terminal's new size: \(error)") }
    }

    /// A path is taken as it is: the penumbra in the machine gets one that leads to no name.
    private func kernelFile() throws -> String {
        if kernel.contains("/") { return kernel }
        return try KernelFiles(kernel, boot: .bzimage, installation: Installation()).image
    }

    private func guestRoot(hasTerminal: Bool) -> GuestRoot {
        let shell = [Array("/bin/sh".utf8)]
        var root = GuestRoot(command: words.isEmpty ? shell : lastArguments(words.count))
        let kind = hasTerminal ? environmentVariable("TERM") ?? "linux" : "dumb"
        root.environment = ["TERM=\(kind)"] + env
        root.directory = cwd
        root.hasTerminal = hasTerminal
        root.additions = add
        return root
    }
}
