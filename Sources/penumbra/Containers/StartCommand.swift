// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers

struct StartCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Start containers that do not run.")

    @Flag(name: [.short, .long], help: "Attach to the program, and exit with its status.")
    var attach = false

    @Flag(name: [.short, .long], help: "Attach its input too.")
    var interactive = false

    @OptionGroup var place: MachineOption
    @OptionGroup var arguments: ContainerArguments

    func validate() throws {
        if (attach || interactive) && arguments.containers.count > 1 {
            throw ValidationError("--attach takes one container")
        }
    }

    func run() throws {
        try GuestReport.exit {
            switch try ContainerPlace.choose(place) {
            case .thisHost: return try runHere()
            case .machine(let connection):
                let options = (attach ? ["--attach"] : []) + (interactive ? ["--interactive"] : [])
                return try ContainerPlace.forward(
                    ["start"] + options + arguments.containers, to: connection,
                    terminal: interactive && Terminals.areOurs, readsInput: interactive)
            }
        }
    }

    private func runHere() throws -> Int32 {
        let store = try Containers.store()
        if attach || interactive, let name = arguments.containers.first {
            return try ContainerStart(
                id: store.find(name).id, takesInput: interactive, store: store
            ).attached()
        }
        return arguments.forEach { name in
            try ContainerStart(id: store.find(name).id, takesInput: false, store: store).detached()
            try Output.print(name)
        }
    }
}
