// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraJail
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM
import Synchronization

/// What `penumbra boot` and `penumbra sandbox` have in common.
struct LinuxGuestOptions: ParsableArguments {
    @Option(help: "The guest's memory.")
    var memory = "256M"

    @Option(help: "Virtual CPUs, \(XenGuest.cpuRange.lowerBound) to \(XenGuest.cpuRange.upperBound).")
    var cpus = 1

    @Option(help: "The VM's name, by which 'penumbra ps' and others know it; else one is made up.")
    var name: String?

    @Option(help: "End the guest after so many seconds.")
    var timeout: Double?

    @Flag(help: "Run the invariant checker after every operation; needs a debug core.")
    var debug = false

    @Flag(help: "Print the guest's counters to standard error at its end.")
    var counters = false

    /// What the kernel is called, for a penumbra that gets it as a file without a name.
    @Option(help: .private)
    var kernelName: String?

    /// Of a penumbra that a terminal's raw bytes reach through standard input, though it is no terminal.
    @Flag(help: .private)
    var typed = false

    @OptionGroup var jail: JailOption
    @OptionGroup var place: PlaceOption

    func validate() throws {
        _ = try MemorySize(memory)
        guard XenGuest.cpuRange.contains(cpus) else {
            throw ValidationError("--cpus takes 1 to \(XenGuest.cpuRange.upperBound), not \(cpus)")
        }
        if let name { _ = try GuestName(name) }
        if let timeout, timeout <= 0 { throw ValidationError("--timeout takes a positive number of seconds") }
    }

    /// The name that was given, or one that is made up.
    func guestName() throws -> GuestName { try name.map { try GuestName($0) } ?? GuestName.random() }

    /// These options once more, for the penumbra in the machine.
    func words(kernel: String) -> [String] {
        var words = ["--memory=\(memory)", "--cpus=\(cpus)", "--kernel-name=\(Self.lastName(of: kernel))"]
        if let name { words.append("--name=\(name)") }
        if let timeout { words.append("--timeout=\(timeout)") }
        if debug { words.append("--debug") }
        if counters { words.append("--counters") }
        return words + jail.words
    }

    private static func lastName(of path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }
}

/// A guest that runs on this host, with its console on this process's standard streams.
struct LocalGuest {
    let kernel: String
    let initrd: [UInt8]?
    let commandLine: String
    let options: LinuxGuestOptions
    var disks: [Disk] = []
    var network: NetworkSettings?
    var shares: [VolumeShare] = []
    var session: GuestSession?
    /// The session's input ends with this process's.
    var inputEnds = false

    private static let directory = RunDirectory()
    /// How long the last of the output may take when the guest has ended.
    private static let outputPatience = 5.0

    /// The guest's end as this program's exit status.
    func run() throws -> Int32 {
        let signals = try SignalDescriptor.open([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
        return try GuestProcess(
            option: options.jail, explain: GuestReport.explanation(in: options.place)
        ).run({ try run(signals, $0) }, afterwards: Self.directory.tidy)
    }

    private func run(
        _ signals: Descriptor, _ explain: @escaping GuestProcess.Explanation
    ) throws -> Int32 {
        var shares = shares
        let jail = options.jail.isOff ? nil : try GuestJail.prepare(&shares, in: Self.directory)
        let device = try Device()
        let name = try options.guestName()
        try Self.directory.requireFree(name)
        let guest = try guest(name, sharing: shares, on: device)
        let outcome =
            try inputEnds
            ? run(guest, jail, signals, escape: nil)
            : RawTerminal.during { isTerminal in
                let isTyped = isTerminal || options.typed
                return try run(guest, jail, signals, escape: isTyped ? ConsoleEnd.controlBracket : nil)
            }
        if options.counters { GuestReport.printCounters(try guest.counters()) }
        let status = try GuestReport(
            device: device, timeout: options.timeout, explain: explain
        ).status(of: outcome)
        guard case .exited(0) = outcome, let session else { return status }
        if let status = session.status { return Int32(status) }
        Output.note("the guest powered off without a word about its command")
        return ExitStatus.failed
    }

    private func run(
        _ guest: XenGuest, _ jail: Jail?, _ signals: Descriptor, escape: UInt8?
    ) throws -> GuestOutcome {
        let presence = try guest.presence(in: Self.directory, kernel: options.kernelName ?? kernel)
        let input = RawTerminal.isOthers(STDIN_FILENO) ? nil : Descriptor(adopting: STDIN_FILENO)
        try jail?.close(keptBy: .elsewhere)
        let output = try ConsoleOutput(to: Output.standard)
        let early = EarlyText()
        let outcome = try guest.run(
            timeout: options.timeout, signals: signals,
            console: ConsoleEnd(
                input: input, stuffedFor: inputEnds ? session : nil, escape: escape, output: output,
                early: session == nil ? nil : early.append),
            session: session,
            presence: presence,
            report: { Output.note($0) })
        output.finish(within: Self.outputPatience)
        if outcome.isTheGuestsFault { try? Output.error.write(early.bytes) }
        return outcome
    }

    private func guest(
        _ name: GuestName, sharing shares: [VolumeShare], on device: Device
    ) throws -> XenGuest {
        var settings = GuestOptions(memory: try MemorySize(options.memory))
        settings.cpus = options.cpus
        settings.commandLine = commandLine
        settings.debug = options.debug
        return try XenGuest(
            kernel: try Files.read(kernel), initrd: initrd, name: name, settings, disks: disks,
            network: network, shares: shares, on: device)
    }
}

/// What a guest's kernel said outside its console, kept for the case that it comes to a bad end: among a
/// command's output it has no place.
private final class EarlyText: Sendable {
    private static let limit = 16 << 10
    private let text = Mutex<[UInt8]>([])

    var bytes: [UInt8] { text.withLock { $0 } }

    @Sendable func append(_ bytes: [UInt8]) {
        text.withLock { $0 = Array(($0 + bytes).suffix(Self.limit)) }
    }
}

extension GuestOutcome {
    fileprivate var isTheGuestsFault: Bool {
        switch self {
        case .panicked, .crashed: true
        default: false
        }
    }
}
