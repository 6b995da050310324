// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// One way to boot the machine that guests are run in.
public struct MachineKind: CustomTestStringConvertible, Sendable {
    public var testDescription: String
    public var kernel: String
    public var core: String
    public var boot: String
    public var cpus: Int
    public var commandLine: String
    /// QEMU's -cpu.
    public var processor: String
    /// Its RAM, which QEMU takes as it is used.
    public var memory = "1G"

    public init(
        testDescription: String, kernel: String = "6.1", core: String = "debug", boot: String = "vmlinux",
        cpus: Int = 2, commandLine: String = "", processor: String = "max"
    ) {
        self.testDescription = testDescription
        self.kernel = kernel
        self.core = core
        self.boot = boot
        self.cpus = cpus
        self.commandLine = commandLine
        self.processor = processor
    }

    /// For the command line: all barriers against transient execution but the restricted view, which guests
    /// are given one by one.
    public static let barriers = "penumbra.barriers=rsb-exit,rsb-enter,ibpb-vm,ibpb-vmm,verw"

    public var isDebug: Bool { core == "debug" }
}

/// A running machine; stopped with the value, by whatever end.
public final class TestMachine {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    public let name: String

    public init(_ kind: MachineKind) throws {
        name = "test-\(ProcessInfo.processInfo.processIdentifier)-\(UInt16.random(in: 0 ... .max))"
        let started = try penumbra(
            "machine", "start", "--name", name, "--kernel", kind.kernel, "--module", kind.core,
            "--boot", kind.boot, "--cpus", "\(kind.cpus)", "--memory", kind.memory, "--timeout", "300",
            "--cmdline", kind.commandLine + " softlockup_panic=0", "--qemu-arg=-cpu",
            "--qemu-arg=\(kind.processor)")
        guard started.status == 0 else { throw Failure(description: started.errors) }
    }

    deinit { _ = try? penumbra("machine", "stop", "--name", name) }

    /// A shell command in the machine.
    public func shell(_ command: String) throws -> Finished { try begin(command).finished() }

    /// A shell command in the machine, which runs beside the test.
    public func begin(_ command: String) throws -> RunningProgram {
        try RunningProgram(
            Tree.penumbra, ["machine", "exec", "--name", name, "--", "sh", "-c", command])
    }

    public func put(_ file: URL, at path: String) throws {
        let copied = try penumbra("machine", "cp", "--name", name, file.path, ":\(path)")
        guard copied.status == 0 else { throw Failure(description: copied.errors) }
    }

    /// What the kernel complained of since it booted: warnings, stalls, lockups, oopses.
    public func complaints() throws -> String {
        let result = try penumbra("machine", "logs", "--name", name, "--log", "console", "--complaints")
        return result.status == 0 ? "" : result.output + result.errors
    }

    /// What a machine whose agent is silent is doing: its CPUs' registers, twice a second apart, and the
    /// end of its console. Empty if `result` complains of no such silence.
    public func anatomy(after result: Finished) -> String {
        guard result.errors.contains("its agent did not answer") else { return "" }
        var findings: [String] = []
        do {
            let monitor = try Monitor(of: self)
            for _ in 0..<2 {
                findings.append(try monitor.order("info registers -a"))
                sleep(1)
            }
            findings.append(try monitor.order("info lapic"))
        } catch { findings.append("\(error)") }
        let console = try? penumbra("machine", "logs", "--name", name, "--log", "console").output
        findings.append((console ?? "").split(separator: "\n").suffix(30).joined(separator: "\n"))
        return findings.map { $0.replacing("\\r\\n", with: "\n") }.joined(separator: "\n")
    }

    /// The module's own count of what it holds; all zero when no VM lives, or soon after: another process
    /// may look at a VMM's memory while that ends.
    public func leaks() throws -> String {
        var found = ""
        for _ in 0..<10 {
            let info = try shell("penumbra info --format json").output
            let held = ["vms", "vcpus", "pinned-pages", "pool-pages", "table-pages"].filter { key in
                info.range(of: "\"\(key)\"\\s*:\\s*0\\b", options: .regularExpression) == nil
            }
            found = held.isEmpty ? "" : "not zero: \(held.joined(separator: " ")) in \(info)"
            if found.isEmpty { break }
            usleep(500_000)
        }
        return found
    }
}
