// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

struct GuestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "guest",
        abstract: "Run a micro-guest: on /dev/penumbra if it is there, else in the machine.",
        discussion: """
            Exits with the guest's own status, or with 70 (the guest crashed), 71 (a bug in the core), \
            72 (killed), 73 (the host's memory is full or bad), 74 (the guest panicked), 75 (it asked for a \
            reboot), 124 (--timeout), 125 (penumbra itself failed), 128 + n (signal n), 69 (nowhere to run).
            """)

    @Argument(help: "A static ELF64 program for the test personality.", completion: .file())
    var file: String

    @Option(help: "The guest's memory.")
    var memory = "16M"

    @Option(help: "Number of virtual CPUs.")
    var cpus = 1

    @Option(help: "Text for the guest.")
    var cmdline = ""

    @Option(help: "Pages that the core may use for this guest's shadow tables.")
    var pool: Int?

    @Option(help: "End the guest after so many seconds.")
    var timeout: Double?

    @Flag(help: "Map only the entry view into the guest's tables, as on CPUs with Meltdown.")
    var restricted = false

    @Flag(help: "Run the invariant checker after every operation; needs a debug core.")
    var debug = false

    @Flag(help: "Print the guest's counters to standard error at its end.")
    var counters = false

    @OptionGroup var jail: JailOption
    @OptionGroup var place: PlaceOption

    func validate() throws {
        _ = try MemorySize(memory)
        if let timeout, timeout <= 0 { throw ValidationError("--timeout takes a positive number of seconds") }
        if let pool, pool < 64 { throw ValidationError("--pool takes at least 64 pages") }
    }

    func run() throws {
        try GuestReport.exit {
            switch try Place.choose(place) {
            case .thisHost: try runHere()
            case .machine(let connection):
                try RemoteGuest(
                    connection: connection, verb: "guest", options: options, input: .asItIs
                ).run([("", try Files.read(file))])
            }
        }
    }

    private func runHere() throws -> Int32 {
        let signals = try SignalDescriptor.open([SIGINT, SIGTERM])
        return try GuestProcess(option: jail, explain: GuestReport.explanation(in: place))
            .run { try runGuest(signals, $0) }
    }

    private func runGuest(
        _ signals: Descriptor, _ explain: @escaping GuestProcess.Explanation
    ) throws -> Int32 {
        var options = GuestOptions(memory: try MemorySize(memory))
        options.cpus = cpus
        options.commandLine = cmdline
        options.restricted = restricted
        options.debug = debug
        options.poolPages = pool
        let jail = jail.isOff ? nil : try GuestJail.prepare()
        let device = try Device()
        let guest = try MicroGuest(try Files.read(file), options, on: device)
        try jail?.close(keptBy: .elsewhere)
        let outcome = try guest.run(timeout: timeout, signals: signals) { bytes in
            try? Output.standard.write(bytes)
        }
        if counters { GuestReport.printCounters(try guest.counters()) }
        return try GuestReport(device: device, timeout: timeout, explain: explain)
            .status(of: outcome)
    }

    /// These options once more, for the penumbra in the machine.
    private var options: [String] {
        var words = ["--memory=\(memory)", "--cpus=\(cpus)"]
        // The parser takes no empty value after "=".
        if !cmdline.isEmpty { words.append("--cmdline=\(cmdline)") }
        if let pool { words.append("--pool=\(pool)") }
        if let timeout { words.append("--timeout=\(timeout)") }
        if restricted { words.append("--restricted") }
        if debug { words.append("--debug") }
        if counters { words.append("--counters") }
        return words + jail.words
    }
}
