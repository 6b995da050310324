// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers

struct RemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove containers, with their disks and logs.")

    @Flag(name: [.short, .long], help: "Kill those that run; one that is not there is no error.")
    var force = false

    @OptionGroup var place: MachineOption
    @OptionGroup var arguments: ContainerArguments

    func run() throws {
        try GuestReport.exit(
            at: place, forwarding: ["rm"] + (force ? ["--force"] : []) + arguments.containers
        ) {
            let store = try Containers.store()
            return arguments.forEach { name in
                do {
                    try remove(name, store)
                    try Output.print(name)
                } catch ContainerError.unknown where force {}
            }
        }
    }

    private func remove(_ name: String, _ store: ContainerStore) throws {
        let id = try store.id(of: name)
        if force, let container = try? store.container(id), container.state.isRunning {
            do { _ = try MonitorClient(to: container).stop(seconds: 0) } catch ContainerError.notRunning {}
            try store.waitUntilStopped(id)
        }
        try store.remove(id)
    }
}
