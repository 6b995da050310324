// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc
import PenumbraSystem

/// A Xen PV guest: an unmodified kernel with its xenstore and its console.
public final class XenGuest: Sendable {
    private let run: GuestRun
    private let image: XenDomainImage
    private let special: XenSpecialFrames
    private let domain: XenStoreDomain
    private let disks: [DiskFile]
    private let network: NetworkSettings?
    private let shares: [SharedDirectory]

    /// Builds the VM; `kernel` and `initrd` are whole files. The disks' files are open and locked from
    /// here on until the guest is gone; the shares' directories are open.
    public init(
        kernel: [UInt8], initrd: [UInt8]?, name: GuestName, _ options: GuestOptions, disks: [Disk] = [],
        network: NetworkSettings? = nil, shares: [VolumeShare] = [], on device: Device
    ) throws(VMMError) {
        self.disks = try Self.open(disks)
        self.network = network
        do throws(VolumeShareError) { self.shares = try SharedDirectory.open(shares) } catch {
            throw .share(error)
        }
        guard Self.cpuRange.contains(options.cpus) else {
            throw .tooManyCPUs(options.cpus, limit: Self.cpuRange.upperBound)
        }
        try HostMemory.check(options.memory)
        if let initrd { try Self.check(initrd: initrd, against: options.memory) }
        image = try Self.image(kernel: kernel, initrd: initrd, options)
        domain = XenStoreDomain(
            name: name.text, identifier: Self.randomIdentifier(), memory: options.memory,
            cpus: options.cpus,
            consoleFrame: image.layout.console, storeFrame: image.layout.xenStore)
        let frames = UInt32(image.memory.frames)
        special = try XenSpecialFrames(ramFrames: frames)
        let machine = try device.createVM(
            options.creation(
                personality: PENUMBRA_PERSONALITY_XEN_PV, frames: image.memory.frames,
                specialFrames: xenpv_special_frames(frames)))
        for region in [image.memory.region] + special.regions { try machine.addRegion(region) }
        var cpus: [VirtualCPU] = []
        for id in 0..<options.cpus {
            let arguments = id == 0 ? Self.registers(image, special) : Self.unstarted(id)
            cpus.append(try VirtualCPU(file: machine.createCPU(arguments)))
        }
        run = GuestRun(machine: machine, cpus: cpus)
    }

    /// How many vCPUs a guest can have.
    public static let cpuRange = 1...Int(XENPV_MAX_VCPUS)

    /// Refuses a RAM disk that no kernel could be beside.
    public static func check(initrd: [UInt8], against memory: MemorySize) throws(VMMError) {
        guard UInt64(initrd.count) < memory.bytes else {
            throw .initrdTooLarge(bytes: UInt64(initrd.count), memory: memory.bytes)
        }
    }

    private static func open(_ disks: [Disk]) throws(VMMError) -> [DiskFile] {
        var taken: Set<Int> = []
        do throws(DiskError) {
            return try disks.map { disk throws(DiskError) in
                guard taken.insert(disk.index).inserted else { throw .badIndex(disk.index) }
                return try DiskFile(disk)
            }
        } catch { throw .disk(error) }
    }

    /// The kernel's file is let go before the VM runs.
    private static func image(
        kernel: [UInt8], initrd: [UInt8]?, _ options: GuestOptions
    ) throws(VMMError) -> XenDomainImage {
        let program: KernelImage
        do { program = try KernelImage(kernel, memoryLimit: options.memory.bytes) } catch {
            throw .badKernel(error)
        }
        return try XenDomainImage(
            program, initrd: initrd, memory: try GuestMemory(size: options.memory.bytes),
            commandLine: options.commandLine)
    }

    private static func registers(
        _ image: XenDomainImage, _ special: XenSpecialFrames
    ) -> penumbra_create_vcpu {
        var arguments = penumbra_create_vcpu()
        arguments.rip = image.entry
        arguments.rsp = image.stackTop
        arguments.rsi = image.startInfo
        arguments.root_frame = image.root
        arguments.info_address = special.sharedInfo.value
        return arguments
    }

    /// The guest brings it up, with registers of its own.
    private static func unstarted(_ id: Int) -> penumbra_create_vcpu {
        var arguments = penumbra_create_vcpu()
        arguments.id = UInt32(id)
        return arguments
    }

    /// RFC 9562, version 4: random but for version and variant.
    static func randomIdentifier() -> String {
        var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
    }

    public func counters() throws(VMMError) -> penumbra_counters { try run.machine.counters() }

    /// Ends the VM as it is, from any thread; `run` returns then.
    public func kill() throws(VMMError) { try run.machine.kill() }

    /// What others see of the guest while it runs.
    public struct Presence: Sendable {
        let registration: Registration
        /// What the kernel is called.
        let kernel: String
    }

    /// Takes the guest's name.
    public func presence(in directory: RunDirectory, kernel: String) throws -> Presence {
        Presence(registration: try directory.claim(GuestName(domain.name)), kernel: kernel)
    }

    /// Runs until the guest ends, `timeout` seconds pass, `signals` (see SignalDescriptor) has one,
    /// the user leaves or another process ends it by its name. The second console carries the lines of
    /// `session` or the messages of `agent`, if the guest has either. `report` takes lines about devices
    /// that failed, from any thread.
    public func run(
        timeout: Double? = nil, signals: Descriptor? = nil, console: ConsoleEnd, session: GuestSession? = nil,
        agent: AgentLink? = nil, presence: Presence? = nil,
        report: @escaping @Sendable (String) -> Void = { _ in }
    ) throws -> GuestOutcome {
        let grants = GrantTable(special: special.memory, ram: image.memory)
        let sessionConsole = try session.map { try self.console(of: $0, grants) }
        let disks = try disks.map { try BlockBackend($0, grants: grants, report: report, open: openChannel) }
        let shares = try shares.enumerated().map { number, share in
            try NinePBackend(share, number: number, grants: grants, open: openChannel)
        }
        let interface = try network.map { try NetworkBackend($0, grants: grants, open: openChannel) }
        let agentConsole = agent.map { AgentConsole($0, grants: grants, open: openChannel) }
        let others: [(any XenBackend)?] = [interface, sessionConsole, agentConsole]
        let backends: [any XenBackend] = disks + shares + others.compactMap { $0 }
        defer { for backend in backends { backend.disconnect() } }
        let store = XenStoreDevice(
            try EventChannel(run.machine, port: UInt32(XENPV_PORT_XENSTORE)),
            XenStoreRing(memory: image.memory, frame: image.layout.xenStore, store: domain.store()),
            backends: backends, report: report)
        let terminal = ConsoleDevice(
            try EventChannel(run.machine, port: UInt32(XENPV_PORT_CONSOLE)),
            ConsoleRing(memory: image.memory, frame: image.layout.console), console)
        let control = try presence.map { try self.control($0, store, sessionConsole) }
        let devices: [(any GuestDevice)?] = [store, terminal, sessionConsole, agentConsole, control]
        return try run.run(timeout: timeout, signals: signals, devices: devices.compactMap { $0 }) {
            [say = console.early ?? console.output.append] (cpu, number, _, _) throws(VMMError) -> UInt64 in
            guard number == UInt64(XENPV_REQUEST_CONSOLE) else { return GuestRun.unknownRequest }
            let bytes = try cpu.requestData()
            say(bytes)
            return UInt64(bytes.count)
        }
    }

    /// Of a port that the guest named.
    private func openChannel(port: UInt32) throws -> EventChannel {
        try EventChannel(run.machine, port: port)
    }

    private func console(of session: GuestSession, _ grants: GrantTable) throws -> SessionConsole {
        SessionConsole(
            session, grants: grants, resized: try SignalDescriptor.open([SIGWINCH]), open: openChannel)
    }

    private func control(
        _ presence: Presence, _ store: XenStoreDevice, _ session: SessionConsole?
    ) throws -> GuestControl {
        try GuestControl(
            presence.registration,
            GuestStatus(
                name: domain.name, process: getpid(), state: .running, memory: domain.memory.bytes,
                kernel: presence.kernel, age: 0),
            GuestControl.Actions(
                counters: { [machine = run.machine] in CounterList.named(try machine.counters()) },
                requestPowerOff: store.requestPowerOff, resize: { try session?.resize(to: $0) }))
    }
}
