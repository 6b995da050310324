// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc

@main
struct Penumbra: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "penumbra",
        abstract: "Runs VMs in ring 3, without hardware virtualization.",
        subcommands: [
            SandboxCommand.self, ImageCommand.self, ImagePullCommand.self, BootCommand.self, PsCommand.self,
            StopCommand.self, KillCommand.self, StatsCommand.self, ResizeCommand.self, GuestCommand.self,
            MachineCommand.self, DoctorCommand.self,
            InfoCommand.self,
            VersionCommand.self, MachineAgentCommand.self,
        ])

    static func main() {
        // A reader of our output that leaves shows as a failed write, not as our death.
        signal(SIGPIPE, SIG_IGN)
        main(nil)
    }
}
