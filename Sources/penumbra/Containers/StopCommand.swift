// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers
import PenumbraVMM

struct StopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "Send containers their stop signal, and other VMs a power-off; end those that go on.")

    @Option(name: [.short, .long], help: "Seconds until what goes on is ended.")
    var time: UInt32 = 10

    @OptionGroup var place: MachineOption
    @OptionGroup var arguments: ContainerArguments

    func run() throws {
        try GuestReport.exit(at: place, forwarding: ["stop", "--time=\(time)"] + arguments.containers) {
            let store = try Containers.store()
            return arguments.forEach { name in
                do { try stop(store.find(name), store) } catch ContainerError.unknown {
                    try stop(RunningGuests.client(name), name)
                }
                try Output.print(name)
            }
        }
    }

    /// One that does not run is stopped already.
    private func stop(_ container: Container, _ store: ContainerStore) throws {
        do { _ = try MonitorClient(to: container).stop(seconds: time) } catch ContainerError.notRunning {}
        try store.waitUntilStopped(container.id)
    }

    private func stop(_ client: GuestClient, _ name: String) throws {
        if try client.stop(within: Double(time)) { return }
        Output.note("VM '\(name)' did not power off within \(time) s and is ended")
        // The first connection has had its request.
        do { try RunningGuests.client(name).kill() } catch ContainerError.unknown {}
    }
}

extension RunningGuests {
    static func client(_ name: String) throws -> GuestClient {
        guard let guestName = try? GuestName(name) else { throw ContainerError.unknown(name) }
        do { return try RunDirectory().connect(to: guestName) } catch RunDirectory.Problem.notRunning {
            throw ContainerError.unknown(name)
        }
    }
}
