// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem

/// A Xen PV guest with one vCPU: an unmodified kernel with its xenstore and its console.
public final class XenGuest: Sendable {
    private let run: GuestRun
    private let image: XenDomainImage
    private let domain: XenStoreDomain

    /// Builds the VM; `kernel` and `initrd` are whole files.
    public init(
        kernel: [UInt8], initrd: [UInt8]?, name: GuestName, _ options: GuestOptions, on device: Device
    ) throws(VMMError) {
        image = try Self.image(kernel: kernel, initrd: initrd, options)
        domain = XenStoreDomain(
            name: name.text, identifier: Self.randomIdentifier(), memory: options.memory,
            consoleFrame: image.layout.console, storeFrame: image.layout.xenStore)
        let frames = UInt32(image.memory.frames)
        let special = try XenSpecialFrames(ramFrames: frames)
        let machine = try device.createVM(
            options.creation(
                personality: PENUMBRA_PERSONALITY_XEN_PV, frames: image.memory.frames,
                specialFrames: xenpv_special_frames(frames)))
        for region in [image.memory.region] + special.regions { try machine.addRegion(region) }
        let cpu = try VirtualCPU(file: machine.createCPU(Self.registers(image, special)))
        run = GuestRun(machine: machine, cpus: [cpu])
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

    /// RFC 9562, version 4: random but for version and variant.
    static func randomIdentifier() -> String {
        var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
    }

    public func counters() throws(VMMError) -> penumbra_counters { try run.machine.counters() }

    /// Runs until the guest ends, `timeout` seconds pass, `signals` (see SignalDescriptor) has one or
    /// the user leaves.
    public func run(
        timeout: Double? = nil, signals: Descriptor? = nil, console: ConsoleEnd
    ) throws -> GuestOutcome {
        let (memory, layout) = (image.memory, image.layout)
        let store = XenStoreDevice(
            try EventChannel(run.machine, port: XENPV_PORT_XENSTORE),
            XenStoreRing(memory: memory, frame: layout.xenStore, store: domain.store()))
        let terminal = ConsoleDevice(
            try EventChannel(run.machine, port: XENPV_PORT_CONSOLE),
            ConsoleRing(memory: memory, frame: layout.console), console)
        return try run.run(timeout: timeout, signals: signals, devices: [store, terminal]) {
            [output = console.output] (cpu, number, _, _) throws(VMMError) -> UInt64 in
            guard number == UInt64(XENPV_REQUEST_CONSOLE) else { return GuestRun.unknownRequest }
            let bytes = try cpu.requestData()
            output.append(bytes)
            return UInt64(bytes.count)
        }
    }
}
