// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers
import PenumbraSystem

struct AttachCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach",
        abstract: "Attach this terminal to a running container's program.",
        discussion: "Exits with the program's status. Control-P Control-Q leaves a program with a terminal.")

    @Flag(help: "Do not attach the input.")
    var noStdin = false

    @OptionGroup var place: MachineOption

    @Argument(help: "A container.", completion: .custom { _, _, _ in Containers.names() })
    var container: String

    func run() throws {
        try GuestReport.exit {
            switch try ContainerPlace.choose(place) {
            case .thisHost: return try runHere()
            case .machine(let connection):
                return try ContainerPlace.forward(
                    ["attach"] + (noStdin ? ["--no-stdin"] : []) + [container], to: connection,
                    terminal: !noStdin && Terminals.areOurs, readsInput: !noStdin)
            }
        }
    }

    private func runHere() throws -> Int32 {
        let found = try Containers.store().find(container)
        let client = try MonitorClient(to: found)
        let takesInput = !noStdin && found.configuration.keepsInputOpen
        try client.send(.attach(takesInput: takesInput))
        if found.configuration.hasTerminal, let size = Terminals.size { try client.send(.resize(size)) }
        return ContainerEnd.report(
            try AttachedStreams(
                client: client, takesInput: takesInput, hasTerminal: found.configuration.hasTerminal,
                signals: .container { try MonitorClient(to: found).signal($0) }
            ).run())
    }
}
