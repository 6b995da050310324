// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// A small Linux in QEMU with the module in it: started, found again and stopped by name.
public struct Machine: Sendable {
    public let state: StateDirectory

    public init(name: String = StateDirectory.defaultName) throws(MachineError) {
        state = try StateDirectory(name: name)
    }

    /// Boots the machine and returns once its agent answers.
    public func start(
        _ settings: MachineSettings, installation: Installation, progress: (String) -> Void
    ) throws -> Welcome {
        let begin = monotonicSeconds()
        let kernel = try KernelFiles(settings.kernel, boot: settings.boot, installation: installation)
        let module = try settings.moduleFile(for: kernel, installation: installation)
        let lock = try state.claim()
        if let disk = settings.disk {
            try DataDisk(path: state.dataDisk).prepare(size: disk, machine: state.name)
        }
        let image = try Initramfs(
            kernel: kernel, module: module, hasDisk: settings.disk != nil, installation: installation
        ).build()
        try Files.write(image, to: state.file("initramfs"))
        try Files.write(
            Array(settings.record(kernel: kernel, module: module).utf8), to: state.file("settings"))
        progress("kernel \(kernel.image), module \(module ?? "none"), initramfs \(image.count >> 20) MiB")

        let child = try spawnQemu(settings, kernel: kernel, lock: lock)
        progress(
            "QEMU (\(settings.accelerator.rawValue), \(settings.cpus) CPU\(settings.cpus == 1 ? "" : "s"), \(settings.memory)) has process id \(child)"
        )
        do {
            let welcome = try waitForAgent(child, timeout: settings.timeout)
            if welcome.module.hasPrefix("failed") {
                throw failure("the module does not load: \(welcome.module)")
            }
            progress(
                "up after \(seconds(monotonicSeconds() - begin)) s: Linux \(welcome.kernel), module \(welcome.module)"
            )
            return welcome
        } catch {
            kill(child, SIGKILL)
            waitpid(child, nil, 0)
            state.removeRuntimeFiles()
            throw error
        }
    }

    private func spawnQemu(
        _ settings: MachineSettings, kernel: KernelFiles, lock: Descriptor
    ) throws -> pid_t {
        guard let program = Files.program("qemu-system-x86_64") else {
            throw MachineError.missing(
                what: "QEMU", path: "qemu-system-x86_64 in PATH",
                remedy: "install Debian's package qemu-system-x86")
        }
        let null = try Descriptor(path: "/dev/null", flags: O_RDWR)
        let log = try Descriptor(path: state.qemuLog, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        // QEMU keeps the lock's open file for as long as it lives.
        return try ChildProcess(
            program: program, arguments: settings.qemuCommandLine(kernel: kernel, state: state),
            descriptors: [(null.number, 0), (log.number, 1), (log.number, 2), (lock.number, 3)],
            ownSession: true
        ).spawn()
    }

    private func waitForAgent(_ child: pid_t, timeout: Double) throws -> Welcome {
        let deadline = monotonicSeconds() + timeout
        func checkQemu() throws {
            if let end = ChildProcess.ended(child) { throw failure(whyQemuEnded(end)) }
        }
        do {
            while true {
                do {
                    return try Connection(state: state, timeout: timeout, whileWaiting: checkQemu).welcome
                } catch let error as SystemError where error.call == "connect" {
                    // QEMU has not made its sockets yet.
                    try checkQemu()
                    guard monotonicSeconds() < deadline else { throw failure("\(error)") }
                    usleep(10_000)
                }
            }
        } catch MachineError.agentSilent {
            let last = ConsoleLog(file: state.consoleLog).lastLine ?? "nothing"
            throw failure("no answer from its agent within \(Int(timeout)) s; the console ends with: \(last)")
        } catch MachineError.connectionLost {
            throw failure(whyQemuEnded(waitUntilEnded(child)))
        }
    }

    private func waitUntilEnded(_ child: pid_t) -> Termination {
        while true {
            if let end = ChildProcess.ended(child) { return end }
            usleep(10_000)
        }
    }

    private func whyQemuEnded(_ end: Termination) -> String {
        if let reason = ConsoleLog(file: state.consoleLog).failure { return reason }
        let words = (Files.text(state.qemuLog) ?? "").split(whereSeparator: \.isNewline)
        let complaint = words.first { !$0.contains("warning:") }.map { ": \($0)" } ?? ""
        let last = ConsoleLog(file: state.consoleLog).lastLine.map { "ends with: \($0)" } ?? "is empty"
        return switch end {
        case .exited(let status): "QEMU ended with status \(status)\(complaint); the console \(last)"
        case .killed(let signal): "QEMU was killed by signal \(signal)\(complaint); the console \(last)"
        }
    }

    private func failure(_ reason: String) -> MachineError {
        .startFailed(name: state.name, reason: reason, log: state.consoleLog)
    }

    public func connect(timeout: Double = 60) throws -> Connection {
        guard state.isRunning else { throw MachineError.notRunning(state.name) }
        return try Connection(state: state, timeout: timeout)
    }

    /// How a machine was stopped.
    public enum Stop: Sendable {
        case cleanly, terminated, killed
    }

    /// Asks the agent to power off, then QEMU to end, then kills it.
    public func stop() throws -> Stop {
        guard state.isRunning else { throw MachineError.notRunning(state.name) }
        defer { if !state.isRunning { state.removeRuntimeFiles() } }
        if let connection = try? connect(timeout: 3) {
            try? connection.powerOff()
            if waitUntilGone(10) { return .cleanly }
        }
        for (signal, patience, result) in [(SIGTERM, 3.0, Stop.terminated), (SIGKILL, 3.0, Stop.killed)] {
            if let process = state.processID { kill(process, signal) }
            if waitUntilGone(patience) { return result }
        }
        throw MachineError.refused(
            "machine '\(state.name)' does not end, not even by SIGKILL; see \(state.path)")
    }

    private func waitUntilGone(_ patience: Double) -> Bool {
        let deadline = monotonicSeconds() + patience
        while monotonicSeconds() < deadline {
            if !state.isRunning { return true }
            usleep(20_000)
        }
        return false
    }

    /// What a machine does now, for people and programs.
    public struct Status: Sendable {
        public let isRunning: Bool
        public let processID: Int32?
        /// NAME=VALUE as the machine was started with.
        public let settings: [(name: String, value: String)]
        /// Why it is gone, where it did not end well.
        public let failure: String?
    }

    public func status() -> Status {
        let running = state.isRunning
        let lines = running ? Files.text(state.file("settings")) ?? "" : ""
        let settings = lines.split(separator: "\n").map { line in
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (name: String(parts[0]), value: String(parts.last ?? ""))
        }
        return Status(
            isRunning: running, processID: running ? state.processID : nil, settings: settings,
            failure: running ? nil : ConsoleLog(file: state.consoleLog).failure)
    }

    private func seconds(_ value: Double) -> String {
        let tenths = Int(value * 10)
        return "\(tenths / 10).\(tenths % 10)"
    }
}
