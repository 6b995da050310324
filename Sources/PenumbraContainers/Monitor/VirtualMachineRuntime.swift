// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraKernels
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM
import Synchronization

/// A container's VM with its agent, on a thread of its own, in a process that is jailed when the VM
/// starts.
final class VirtualMachineRuntime: ContainerRuntime {
    /// The guest's disks, as xen-blkfront calls them.
    private enum Disks {
        static let image = Disk(path: "", isReadOnly: true, index: 0)
        static let changes = Disk(path: "", index: 1)
    }

    /// The kernel speaks on its own console, which is the container's boot log. A guest that speaks for ever is not listened to.
    private static let bootLogLimit = 1 << 20
    private static let outputPatience = 2.0

    private let configuration: ContainerConfiguration
    private let files: ContainerFiles
    private let kernels: String
    private let volumes: VolumeStore
    private let image: (String) throws -> String
    private let inbox: RuntimeInbox
    private let link: AgentLink
    private var guest: XenGuest?

    init(
        _ configuration: ContainerConfiguration, _ files: ContainerFiles, kernels: String,
        volumes: VolumeStore, image: @escaping (String) throws -> String, inbox: RuntimeInbox
    ) throws {
        (self.configuration, self.files, self.kernels) = (configuration, files, kernels)
        self.volumes = volumes
        (self.image, self.inbox) = (image, inbox)
        link = try AgentLink { inbox.post(.agent($0)) }
    }

    func start(_ process: ProcessSpec) throws {
        guard let bundle = KernelBundle(existing: "\(kernels)/\(configuration.kernel)") else {
            throw ContainerError.damaged(
                configuration.name.text, reason: "its kernel \(configuration.kernel) is gone")
        }
        var options = GuestOptions(memory: try MemorySize("\(configuration.memory >> 10)K"))
        options.cpus = configuration.cpus
        options.commandLine = KernelBundle.commandLine
        var (image, changes) = (Disks.image, Disks.changes)
        image.path = try self.image(configuration.imageID)
        changes.path = files.disk
        let network = try network()
        var shares = try shares()
        let jail = try GuestJail.prepare(&shares)
        let guest = try XenGuest(
            kernel: Files.read(bundle.kernel), initrd: Files.read(bundle.initramfs),
            name: GuestName(configuration.id.short), options, disks: [image, changes], network: network,
            shares: shares, on: Device())
        let bootLog = try Descriptor(
            path: files.bootLog, flags: O_WRONLY | O_CREAT | O_APPEND, mode: 0o600)
        try jail.close(keptBy: .parent)
        let output = try ConsoleOutput(to: bootLog, total: Self.bootLogLimit)
        link.configure(specification())
        link.start(process)
        try SystemThread(name: "guest") { [link, inbox] in
            let reason = Self.run(guest, link, output)
            output.finish(within: Self.outputPatience)
            inbox.post(.ended(reason: reason))
        }.detach()
        self.guest = guest
    }

    /// To the guest's end; the reason if it was not to end.
    private static func run(_ guest: XenGuest, _ link: AgentLink, _ output: ConsoleOutput) -> String? {
        do {
            let outcome = try guest.run(
                console: ConsoleEnd(input: nil, escape: nil, output: output), agent: link,
                report: { output.append(Array("penumbra: \($0)\n".utf8)) })
            return switch outcome {
            case .exited, .killed: nil
            case .panicked: "the guest's kernel panicked: 'penumbra logs --boot' has its words"
            case .reboot: "the guest rebooted, which ended its VM"
            case .crashed(let report): "the VM crashed: \(report)"
            case .left, .interrupted, .timedOut: "the VM was ended"
            }
        } catch { return "\(error)" }
    }

    private func network() throws -> NetworkSettings? {
        guard configuration.network == .user else { return nil }
        return try UserNetwork.start(
            publishing: configuration.publishedPorts.compactMap { PublishedPort($0) })
    }

    /// Tags by the mounts' places in the configuration.
    private static func tag(_ number: Int) -> String { "volume\(number)" }

    private func shares() throws -> [VolumeShare] {
        try configuration.volumeMounts.enumerated().map { number, mount in
            VolumeShare(tag: Self.tag(number), path: try path(mount.source), isReadOnly: mount.isReadOnly)
        }
    }

    private func path(_ source: ContainerConfiguration.VolumeMount.Source) throws -> String {
        switch source {
        case .directory(let path): return path
        case .volume(let name):
            try volumes.create(name)
            return volumes.directory(of: name)
        }
    }

    private func specification() -> ContainerSpec {
        var spec = ContainerSpec(
            hostname: configuration.hostname,
            root: RootSpec(
                image: .disk(device: Disks.image.name, type: "squashfs"),
                changes: .disk(device: Disks.changes.name, type: "ext4"), isReadOnly: configuration.isReadOnly
            ))
        spec.mounts = configuration.memoryMounts.map {
            MountSpec(.memory(limit: $0.limit, permissions: $0.permissions), at: $0.target)
        }
        spec.mounts += configuration.volumeMounts.enumerated().map { number, mount in
            MountSpec(.share(tag: Self.tag(number)), at: mount.target, isReadOnly: mount.isReadOnly)
        }
        let hosts = """
            127.0.0.1\tlocalhost
            ::1\tlocalhost ip6-localhost ip6-loopback
            127.0.1.1\t\(configuration.hostname)

            """
        spec.files = [
            FileSpec(path: "/etc/hosts", content: Array(hosts.utf8)),
            FileSpec(path: "/etc/hostname", content: Array((configuration.hostname + "\n").utf8)),
        ]
        guard configuration.network == .user else { return spec }
        spec.network = NetworkSpec(
            addresses: [.init(UserNetwork.address, prefixLength: UserNetwork.prefixLength)],
            gateways: [UserNetwork.gateway], mtu: UserNetwork.mtu)
        let server = UserNetwork.nameServer.map(String.init).joined(separator: ".")
        spec.files.append(FileSpec(path: "/etc/resolv.conf", content: Array("nameserver \(server)\n".utf8)))
        return spec
    }

    func execute(_ process: ProcessSpec) throws -> AgentSession { try link.execute(process) }
    func pack(_ path: [UInt8], followsLink: Bool) throws -> AgentSession {
        try link.pack(path, followsLink: followsLink)
    }
    func unpack(to path: [UInt8], _ placement: CopyPlacement) throws -> AgentSession {
        try link.unpack(to: path, placement)
    }
    func send(_ bytes: [UInt8], to session: AgentSession) { link.send(bytes, to: session) }
    func endInput(of session: AgentSession) { link.endInput(of: session) }
    func passOn(_ count: Int, of session: AgentSession) { link.passOn(count, of: session) }
    func resize(_ session: AgentSession, to size: TerminalSize) { link.resize(session, to: size) }
    func signal(_ session: AgentSession, _ number: Int32) { link.signal(session, number) }
    func powerOff() { link.powerOff() }

    func kill() {
        // A VM that cannot even be ended goes with this process.
        do { try guest?.kill() } catch { inbox.post(.ended(reason: "\(error)")) }
    }

    func usage() -> ContainerUsage? {
        guard let counters = try? guest?.counters() else { return nil }
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return ContainerUsage(
            processorTime: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec),
            memory: counters.pinned_pages << 12, memoryLimit: configuration.memory)
    }
}
