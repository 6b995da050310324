// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers

struct WaitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait", abstract: "Wait until containers have ended, and print their exit statuses.")

    @OptionGroup var place: MachineOption
    @OptionGroup var arguments: ContainerArguments

    func run() throws {
        try GuestReport.exit(at: place, forwarding: ["wait"] + arguments.containers) {
            let store = try Containers.store()
            return arguments.forEach { name in try Output.print(String(try Self.status(name, store))) }
        }
    }

    private static func status(_ name: String, _ store: ContainerStore) throws -> Int32 {
        let container = try store.find(name)
        if container.state.isRunning {
            do { return try MonitorClient(to: container).wait().code } catch ContainerError.notRunning {
                // It has just ended.
                try store.waitUntilStopped(container.id)
            }
        }
        if case .exited(let exit) = try store.container(container.id).state { return exit.code }
        return 0
    }
}
