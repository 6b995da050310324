// SPDX-License-Identifier: Apache-2.0
import CLinux
import CPenumbra
import Glibc
import PenumbraSystem

/// A micro-guest: a VM of the test personality.
public final class MicroGuest: Sendable {
    private let run: GuestRun

    public init(
        _ program: [UInt8], _ options: GuestOptions, on device: Device
    ) throws(VMMError) {
        let cpus = options.cpus
        let limit = Int(PENUMBRA_MAX_VCPUS)
        guard (1...limit).contains(cpus) else { throw .tooManyCPUs(cpus, limit: limit) }
        let memory = try GuestMemory(size: options.memory.bytes)
        let image = try MicroGuestImage(
            program: program, memory: memory, cpus: cpus, commandLine: options.commandLine,
            tscKHz: TimeStampCounter.kilohertz())
        let machine = try device.createVM(
            options.creation(personality: PENUMBRA_PERSONALITY_TEST, frames: memory.frames))
        try machine.addRegion(memory.region)
        var list: [VirtualCPU] = []
        for id in 0..<cpus {
            list.append(try VirtualCPU(file: machine.createCPU(Self.registers(ofCPU: id, image))))
        }
        run = GuestRun(machine: machine, cpus: list)
    }

    /// vCPU 0 begins at the entry point; the guest gives the others their registers when it starts them.
    private static func registers(ofCPU id: Int, _ image: MicroGuestImage) -> penumbra_create_vcpu {
        var arguments = penumbra_create_vcpu()
        arguments.id = UInt32(id)
        arguments.info_address = image.info(ofCPU: id).value
        arguments.root_frame = image.root.frame
        if id == 0 {
            arguments.rip = image.entry
            arguments.rsp = image.stackTop.value
            arguments.rsi = image.start.value
        }
        return arguments
    }

    public func counters() throws(VMMError) -> penumbra_counters { try run.machine.counters() }

    /// Runs until the guest ends, `timeout` seconds pass or `signals` (see SignalDescriptor) has one.
    public func run(
        timeout: Double? = nil, signals: Descriptor? = nil,
        console: @escaping @Sendable ([UInt8]) -> Void
    ) throws -> GuestOutcome {
        try run.run(timeout: timeout, signals: signals) {
            (cpu, number, first, second) throws(VMMError) -> UInt64 in
            try Self.serve(cpu, number, first, second, console: console)
        }
    }

    private static func serve(
        _ cpu: VirtualCPU, _ number: UInt64, _ first: UInt64, _ second: UInt64, console: ([UInt8]) -> Void
    ) throws(VMMError) -> UInt64 {
        switch number {
        case UInt64(PTEST_REQUEST_CONSOLE):
            let bytes = try cpu.requestData()
            console(bytes)
            return UInt64(bytes.count)
        case UInt64(PTEST_REQUEST_ADD):
            // The guest chooses both: the sum wraps as the guest's own would.
            return first &+ second
        default: return GuestRun.unknownRequest
        }
    }
}

/// The CPU's time stamp counter.
enum TimeStampCounter {
    /// Its frequency, against the clock that no time server bends, over a hundredth of a second.
    static func kilohertz() -> UInt64 {
        func sample() -> (tsc: UInt64, nanoseconds: UInt64) {
            var now = timespec()
            clock_gettime(CLOCK_MONOTONIC_RAW, &now)
            return (linux_tsc(), UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec))
        }
        let begin = sample()
        usleep(10_000)
        let end = sample()
        return (end.tsc &- begin.tsc) * 1_000_000 / max(end.nanoseconds - begin.nanoseconds, 1)
    }
}
