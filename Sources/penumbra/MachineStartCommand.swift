// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraSystem

extension KernelFiles.Boot: ExpressibleByArgument {}
extension MachineSettings.Accelerator: ExpressibleByArgument {}

struct MachineStartCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Boot a machine and wait until it answers.")

    @OptionGroup var name: MachineName

    @Option(help: "Number of CPUs.")
    var cpus = 2

    @Option(help: "Memory, as QEMU takes it: 512M, 2G; by default 512M, with a disk 2G.")
    var memory: String?

    @Option(
        help: ArgumentHelp(
            "Size of the disk that images and containers are kept on, made at the first start: 20G, or 'none'.",
            discussion: "By default 20G for the machine 'default' and none for others."))
    var disk: String?

    @Option(help: "Host kernel: 6.1, 6.1-cloud, 6.12, an unpacked tree or a kernel image.")
    var kernel = "6.1"

    @Option(help: "vmlinux boots quickest; bzimage has KASLR and 5-level paging.")
    var boot = KernelFiles.Boot.vmlinux

    @Option(help: "tcg emulates; kvm needs hardware virtualization.")
    var accel = MachineSettings.Accelerator.tcg

    @Option(help: "More for the kernel's command line; penumbra.NAME=VALUE sets a parameter of the module.")
    var cmdline = ""

    @Option(
        name: .customLong("qemu-arg"), parsing: .unconditionalSingleValue,
        help: "One more argument for QEMU; repeat for more.")
    var qemuArguments: [String] = []

    @Option(
        help:
            "What the build made with the release or the debug core ('release', 'debug'), 'none', or a penumbra.ko."
    )
    var module = "release"

    @Option(help: "Seconds until the machine must answer.")
    var timeout = 120.0

    func validate() throws {
        guard (1...255).contains(cpus) else { throw ValidationError("--cpus takes 1 to 255, not \(cpus)") }
        _ = try diskSize
        guard timeout > 0 else { throw ValidationError("--timeout takes a positive number of seconds") }
    }

    /// Machines by other names are for tests and trials, which start quicker without.
    private var diskSize: DiskSize? {
        get throws {
            let size = disk ?? (name.name == StateDirectory.defaultName ? "20G" : "none")
            return size == "none" ? nil : try DiskSize(size)
        }
    }

    func settings() throws -> MachineSettings {
        var settings = MachineSettings()
        settings.cpus = cpus
        settings.disk = try diskSize
        settings.memory = memory ?? (settings.disk == nil ? "512M" : "2G")
        settings.kernel = kernel
        settings.boot = boot
        settings.accelerator = accel
        settings.commandLine = cmdline
        settings.qemuArguments = qemuArguments
        settings.module = MachineSettings.Module(module)
        settings.timeout = timeout
        return settings
    }

    func run() throws {
        _ = try name.machine().start(settings(), installation: Installation()) {
            Output.note("machine '\(name.name)': \($0)")
        }
    }
}
