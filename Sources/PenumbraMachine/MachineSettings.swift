// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// What a machine is started with.
public struct MachineSettings: Sendable {
    public enum Accelerator: String, CaseIterable, Sendable {
        case tcg, kvm
    }

    /// The builds of the core that modules are made with.
    public enum Core: String, CaseIterable, Sendable {
        case release, debug
    }

    /// Which penumbra.ko the machine gets.
    public enum Module: Equatable, Sendable {
        /// The one that the build made for this kernel, if there is one.
        case built(Core)
        case none
        case file(String)

        /// "release", "debug", "none" or a path.
        public init(_ text: String) {
            if text == "none" {
                self = .none
            } else {
                self = Core(rawValue: text).map { .built($0) } ?? .file(text)
            }
        }
    }

    public var cpus = 2
    public var memory = "512M"
    public var kernel = "6.1"
    public var boot = KernelFiles.Boot.vmlinux
    public var accelerator = Accelerator.tcg
    /// Added to the kernel's command line.
    public var commandLine = ""
    public var qemuArguments: [String] = []
    public var module = Module.built(.release)
    /// The disk that images and containers are kept on; nil: the machine has none, nor the tools for it.
    public var disk: DiskSize?
    /// Seconds until the agent must have answered.
    public var timeout = 120.0

    public init() {}

    /// A panic ends QEMU (-no-reboot), and an oops is a panic: nothing hangs unseen.
    private static let kernelParameters = "console=ttyS0 panic=-1 oops=panic random.trust_cpu=on rdinit=/init"

    func kernelCommandLine() -> String {
        commandLine.isEmpty ? Self.kernelParameters : "\(Self.kernelParameters) \(commandLine)"
    }

    func qemuCommandLine(kernel: KernelFiles, state: StateDirectory) -> [String] {
        var arguments = [
            "-name", "penumbra-\(state.name)", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-machine", "pc", "-accel", accelerator.rawValue, "-cpu", "max",
            "-smp", String(cpus), "-m", memory,
            "-kernel", kernel.image, "-initrd", state.file("initramfs"), "-append", kernelCommandLine(),
            "-serial", "file:\(state.consoleLog)", "-debugcon", "file:\(state.debugLog)",
            "-pidfile", state.file("pid"), "-qmp", "unix:\(state.file("qmp")),server=on,wait=off",
            "-device", "virtio-serial-pci,id=agent,max_ports=\(StateDirectory.portCount + 1)",
        ]
        for port in 0..<StateDirectory.portCount {
            arguments += [
                "-chardev", "socket,id=agent\(port),path=\(state.socket(port)),server=on,wait=off",
                // Port 0 of the device is kept for consoles (virtio 1.2, 5.3.2).
                "-device",
                "virtserialport,bus=agent.0,nr=\(port + 1),chardev=agent\(port),name=penumbra.\(port)",
            ]
        }
        if disk != nil {
            // What the guest flushes is on this host's disk; what it discards gives the file's room back.
            arguments += [
                "-drive",
                "file=\(state.dataDisk),if=none,id=data,format=raw,cache=writeback,discard=unmap,detect-zeroes=unmap",
                "-device", "virtio-blk-pci,drive=data,serial=\(DataDisk.serial)",
                // For containers' networks; the addresses in machine/init are QEMU's own defaults.
                "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
            ]
        }
        return arguments + qemuArguments
    }

    /// The module's file, or nil for a machine without.
    func moduleFile(for kernel: KernelFiles, installation: Installation) throws(MachineError) -> String? {
        switch module {
        case .none: return nil
        case .file(let path):
            guard Files.exists(path) else {
                throw .missing(what: "the module", path: path, remedy: "build it with 'make build'")
            }
            return path
        case .built(let core):
            guard let kind = kernel.kind else { return nil }
            return installation.find("build/module/\(core.rawValue)/\(kind)/penumbra.ko")
        }
    }

    /// Lines of NAME=VALUE for the state directory.
    func record(kernel: KernelFiles, module: String?) -> String {
        """
        cpus=\(cpus)
        memory=\(memory)
        accelerator=\(accelerator.rawValue)
        boot=\(boot.rawValue)
        kernel=\(kernel.image)
        release=\(kernel.release ?? "unknown")
        module=\(module ?? "none")
        disk=\(disk?.description ?? "none")
        command-line=\(kernelCommandLine())

        """
    }
}
