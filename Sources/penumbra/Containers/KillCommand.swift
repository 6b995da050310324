// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraVMM

struct KillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kill", abstract: "Send running containers a signal; end other VMs at once.")

    @Option(name: [.short, .long], help: "The signal, for a container's main process.")
    var signal = "KILL"

    @OptionGroup var place: MachineOption
    @OptionGroup var arguments: ContainerArguments

    func validate() throws { _ = try SignalName.number(signal) }

    func run() throws {
        let number = try SignalName.number(signal)
        try GuestReport.exit(at: place, forwarding: ["kill", "--signal=\(number)"] + arguments.containers) {
            let store = try Containers.store()
            return arguments.forEach { name in
                do { try MonitorClient(to: store.find(name)).signal(number) } catch ContainerError.unknown {
                    guard number == SIGKILL else {
                        throw ContainerError.badOption(
                            "--signal", reason: "'\(name)' is no container: a VM is only ended")
                    }
                    try RunningGuests.client(name).kill()
                }
                try Output.print(name)
            }
        }
    }
}
