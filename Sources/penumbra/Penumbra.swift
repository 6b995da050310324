// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc

@main
struct Penumbra: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "penumbra",
        abstract: "Runs VMs in ring 3, without hardware virtualization.",
        subcommands: [
            RunCommand.self, CreateCommand.self, StartCommand.self, StopCommand.self, KillCommand.self,
            RemoveCommand.self, WaitCommand.self, AttachCommand.self, ExecCommand.self, PsCommand.self,
            LogsCommand.self, InspectCommand.self, StatsCommand.self, CopyCommand.self, ImageCommand.self,
            ImagePullCommand.self, VolumeCommand.self, SystemCommand.self, SandboxCommand.self,
            BootCommand.self,
            ResizeCommand.self,
            GuestCommand.self, MachineCommand.self, DoctorCommand.self, InfoCommand.self, VersionCommand.self,
            MachineAgentCommand.self, ContainerMonitorCommand.self, ManualCommand.self,
        ])

    static func main() {
        // A reader of our output that leaves shows as a failed write, not as our death.
        signal(SIGPIPE, SIG_IGN)
        // And so does a file that may not grow (RLIMIT_FSIZE), which a guest may try.
        signal(SIGXFSZ, SIG_IGN)
        main(nil)
    }
}
