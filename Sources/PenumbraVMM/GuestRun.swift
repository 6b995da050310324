// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc
import PenumbraJail
import PenumbraSystem
import Synchronization

/// How a guest's run ended.
public enum GuestOutcome: Equatable, Sendable {
    case exited(status: UInt8)
    case reboot
    case panicked
    case crashed(CrashReport)
    /// By the user, at the guest's console.
    case left
    /// On request of another process (see GuestControl).
    case killed
    /// By a signal that this process got.
    case interrupted(signal: Int32)
    case timedOut
}

/// Something that is served on the VMM's own thread while the vCPUs run.
protocol GuestDevice: AnyObject {
    /// What to wait for now.
    var descriptors: [Descriptor] { get }

    /// Called when `ready`, one of the descriptors, has something; must not wait. A result ends the run.
    func serve(_ ready: Descriptor) throws -> GuestOutcome?
}

/// A VM whose vCPUs run, each on a thread of its own, until the guest ends, time is up or a signal
/// comes. Common to all kinds of guests.
struct GuestRun: Sendable {
    /// Answers a vCPU's request: its number and two arguments.
    typealias Server = @Sendable (VirtualCPU, UInt64, UInt64, UInt64) throws(VMMError) -> UInt64

    let machine: VirtualMachine
    let cpus: [VirtualCPU]

    /// What the vCPUs' threads tell the thread that waits.
    private struct Progress {
        var outcome: Result<GuestOutcome, VMMError>?
        var running: Int
    }

    /// Runs to the end, `timeout` seconds at most, or until `signals` (see SignalDescriptor) has one.
    func run(
        timeout: Double?, signals: Descriptor?, devices: [any GuestDevice] = [], server: @escaping Server
    ) throws -> GuestOutcome {
        let (finished, finish) = try ChildProcess.pipe()
        let progress = Mutex(Progress(outcome: nil, running: cpus.count))
        let threads = try cpus.enumerated().map { id, cpu in
            try SystemThread(name: "vcpu\(id)") { [machine] in
                ThreadRole.virtualCPU.confine()
                let result = Self.runToEnd(cpu, server)
                progress.withLock { Self.record(result, in: &$0) }
                // The others' runs return; there is nothing to be done about a VM that cannot even be ended.
                try? machine.kill()
                try? finish.write([0])
            }
        }
        let stopped = Result {
            try Self.wait(for: finished, signals: signals, devices: devices, timeout: timeout)
        }
        try machine.kill()
        for thread in threads { thread.join() }
        if let outcome = try stopped.get() { return outcome }
        return try progress.withLock { $0.outcome }!.get()
    }

    /// The first vCPU to end the VM says why; those that only found it dead say nothing.
    private static func record(_ result: Result<VirtualCPU.Exit, VMMError>, in progress: inout Progress) {
        progress.running -= 1
        if let outcome = result.outcome, progress.outcome == nil { progress.outcome = outcome }
        if progress.running == 0, progress.outcome == nil, case .success(.dead(let report)) = result {
            progress.outcome = .success(.crashed(report))
        }
    }

    /// nil when a vCPU has ended; else what else ended the wait. Serves the devices meanwhile.
    private static func wait(
        for finished: Descriptor, signals: Descriptor?, devices: [any GuestDevice], timeout: Double?
    ) throws -> GuestOutcome? {
        let deadline = timeout.map { monotonicSeconds() + $0 }
        while true {
            let sources = devices.flatMap { device in device.descriptors.map { (device, $0) } }
            let ready = poll([finished, signals] + sources.map(\.1), until: deadline)
            if ready[1], let signal = signals?.takeSignal() { return .interrupted(signal: signal) }
            for (index, (device, descriptor)) in sources.enumerated() where ready[2 + index] {
                if let outcome = try device.serve(descriptor) { return outcome }
            }
            // After the devices: what the guest said at its end is not lost.
            if ready[0] { return nil }
            if let deadline, monotonicSeconds() >= deadline { return .timedOut }
        }
    }

    /// Which of the descriptors have something.
    private static func poll(_ descriptors: [Descriptor?], until deadline: Double?) -> [Bool] {
        var list = descriptors.map { pollfd(fd: $0?.number ?? -1, events: Int16(POLLIN), revents: 0) }
        let rest = deadline.map { max(0, $0 - monotonicSeconds()) }
        Glibc.poll(&list, nfds_t(list.count), rest.map { Int32(min($0 * 1000, 1e9).rounded(.up)) } ?? -1)
        return list.map { $0.revents != 0 }
    }

    /// Runs a vCPU and serves its requests until the VM ends.
    private static func runToEnd(_ cpu: VirtualCPU, _ server: Server) -> Result<VirtualCPU.Exit, VMMError> {
        Result { () throws(VMMError) in
            while true {
                let exit = try cpu.run()
                switch exit {
                case .none: continue
                case .request(let number, let first, let second):
                    cpu.answer(try server(cpu, number, first, second))
                case .shutdown, .crash, .dead: return exit
                }
            }
        }
    }

    /// The answer to a request that the VMM does not know.
    static let unknownRequest = UInt64(bitPattern: Int64(-ENOSYS))
}

extension Result<VirtualCPU.Exit, VMMError> {
    /// What this vCPU's end means for the guest; nil if another's does.
    fileprivate var outcome: Result<GuestOutcome, VMMError>? {
        switch self {
        case .success(.shutdown(UInt64(PENUMBRA_SHUTDOWN_POWEROFF), let status)):
            .success(.exited(status: UInt8(truncatingIfNeeded: status)))
        case .success(.shutdown(UInt64(PENUMBRA_SHUTDOWN_REBOOT), _)): .success(.reboot)
        case .success(.shutdown): .success(.panicked)
        case .success(.crash(let report)): .success(.crashed(report))
        case .success: nil
        case .failure(let error): .failure(error)
        }
    }
}
