// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers
import PenumbraProtocol
import PenumbraSystem

struct ExecCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec",
        abstract: "Run another program in a running container.",
        usage: "penumbra exec [OPTION ...] CONTAINER COMMAND [ARGUMENT ...]",
        discussion: "Exits as 'penumbra run' does.")

    @Flag(name: [.short, .long], help: "Keep the program's input open.")
    var interactive = false

    @Flag(name: [.short, .long], help: "Give the program a terminal.")
    var tty = false

    @Flag(name: [.short, .long], help: "Leave the program running.")
    var detach = false

    @Option(
        name: [.short, .long], parsing: .singleValue,
        help: "NAME=VALUE for the program's environment; repeat for more.")
    var env: [String] = []

    @Option(name: [.short, .long], help: "USER, USER:GROUP; else the container's.")
    var user: String?

    @Option(name: [.short, .long], help: "The working directory; else the container's.")
    var workdir: String?

    @OptionGroup var place: MachineOption

    @Argument(parsing: .captureForPassthrough, help: "The container, the program and its arguments.")
    var words: [String]

    private var whole: [String] { words.first == "--" ? Array(words.dropFirst()) : words }

    func validate() throws {
        if let first = whole.first, first.hasPrefix("-") {
            throw ValidationError("unknown option '\(first)'")
        }
        if whole.count < 2 { throw ValidationError("give a container and a program") }
        if let workdir, !workdir.hasPrefix("/") {
            throw ValidationError("--workdir: '\(workdir)' is no absolute path")
        }
        if let text = env.first(where: { !$0.contains("=") || $0.hasPrefix("=") }) {
            throw ValidationError("--env: '\(text)' is no NAME=VALUE")
        }
    }

    func run() throws {
        try GuestReport.exit {
            try Terminals.requireOurs(input: interactive, terminal: tty, isDetached: detach)
            switch try ContainerPlace.choose(place) {
            case .thisHost: return try runHere()
            case .machine(let connection):
                return try ContainerPlace.forward(
                    ["exec"] + options + ["--"] + whole, to: connection,
                    terminal: tty && !detach && Terminals.areOurs, readsInput: interactive && !detach)
            }
        }
    }

    /// Once more, for the penumbra in the machine.
    private var options: [String] {
        (interactive ? ["--interactive"] : []) + (tty ? ["--tty"] : []) + (detach ? ["--detach"] : [])
            + env.map { "--env=\($0)" } + (user.map { ["--user", $0] } ?? [])
            + (workdir.map { ["--workdir", $0] } ?? [])
    }

    private func runHere() throws -> Int32 {
        let container = try Containers.store().find(whole[0])
        let client = try MonitorClient(to: container)
        try client.send(.execute(process(in: container.configuration)))
        if detach { return try waitForStart(client) }
        if !interactive { try client.send(.inputEnd) }
        return ContainerEnd.report(
            try AttachedStreams(
                client: client, takesInput: interactive, hasTerminal: tty, signals: .session
            ).run())
    }

    /// As the container's own, but for what was asked.
    func process(in configuration: ContainerConfiguration) -> ProcessSpec {
        var process = configuration.process(terminal: nil)
        process.arguments = whole.dropFirst().map { Array($0.utf8) }
        process.environment = ContainerCreation.merged(configuration.environment, env).map { Array($0.utf8) }
        process.user = user ?? configuration.user
        process.directory = workdir ?? configuration.directory
        process.terminal = tty ? Terminals.size ?? TerminalSize(rows: 24, columns: 80) : nil
        return process
    }

    private func waitForStart(_ client: MonitorClient) throws -> Int32 {
        while true {
            switch try client.next() {
            case nil: try client.receive()
            case .started: return 0
            case .ended(let end): return ContainerEnd.report(.ended(end))
            case .refused(let reason): throw ContainerError.refused(reason)
            default: break
            }
        }
    }
}
