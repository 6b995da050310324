// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

struct BootCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "boot",
        abstract:
            "Boot a Linux kernel, as it is, in a VM: on /dev/penumbra if it is there, else in the machine.",
        discussion: """
            Any kernel that can be a Xen PV guest will do, such as those of Debian's linux-image packages. \
            Its console (hvc0) is this terminal; Control-] leaves it and ends the VM.

            Exits with 0 (the guest powered off), 70 (it crashed), 71 (a bug in the core), 72 (it was \
            killed or left), 73 (the host has no memory left), 74 (the guest's kernel panicked), 75 (it \
            rebooted), 124 (--timeout), 125 (penumbra itself failed), 128 + n (signal n), 69 (nowhere to run).
            """)

    @Option(help: "A bzImage (vmlinuz) or ELF kernel (vmlinux).", completion: .file())
    var kernel: String

    @Option(help: "Its initial RAM disk.", completion: .file())
    var initrd: String?

    @Option(help: "Its command line.")
    var cmdline = "console=hvc0"

    @Option(help: "The guest's memory.")
    var memory = "256M"

    @Option(help: "The guest's name, which it can read in xenstore.")
    var name = "guest"

    @Option(help: "End the guest after so many seconds.")
    var timeout: Double?

    @Flag(help: "Run the invariant checker after every operation; needs a debug core.")
    var debug = false

    @Flag(help: "Print the guest's counters to standard error at its end.")
    var counters = false

    /// Of a penumbra whose standard input a terminal's raw bytes come through.
    @Flag(help: .private)
    var typed = false

    @OptionGroup var place: PlaceOption

    func validate() throws {
        _ = try MemorySize(memory)
        _ = try GuestName(name)
        if let timeout, timeout <= 0 { throw ValidationError("--timeout takes a positive number of seconds") }
    }

    func run() throws {
        try GuestReport.exit {
            switch try Place.choose(place) {
            case .thisHost: try runHere()
            case .machine(let connection): try run(on: connection)
            }
        }
    }

    /// How long the last of the output may take when the guest has ended.
    private static let outputPatience = 5.0

    private func runHere() throws -> Int32 {
        let signals = try SignalDescriptor.open([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
        let device = try Device()
        let guest = try guest(on: device)
        let outcome = try RawTerminal.during { isTerminal in
            let output = try ConsoleOutput(to: Output.standard)
            defer { output.finish(within: Self.outputPatience) }
            return try guest.run(
                timeout: timeout, signals: signals,
                console: ConsoleEnd(
                    input: Descriptor(adopting: STDIN_FILENO),
                    escape: isTerminal || typed ? ConsoleEnd.controlBracket : nil, output: output))
        }
        if counters { GuestReport.printCounters(try guest.counters()) }
        return try GuestReport(device: device, timeout: timeout, explainsCoreBugs: !place.here)
            .status(of: outcome)
    }

    private func guest(on device: Device) throws -> XenGuest {
        var options = GuestOptions(memory: try MemorySize(memory))
        options.commandLine = cmdline
        options.debug = debug
        return try XenGuest(
            kernel: try Files.read(kernel), initrd: try initrd.map(Files.read), name: try GuestName(name),
            options, on: device)
    }

    private func run(on connection: Connection) throws -> Int32 {
        var files = [("--kernel=", try Files.read(kernel))]
        if let initrd { files.append(("--initrd=", try Files.read(initrd))) }
        return try RemoteGuest(
            connection: connection, verb: "boot", options: options, isInteractive: true
        ).run(files)
    }

    /// These options once more, for the penumbra in the machine.
    private var options: [String] {
        var words = ["--memory=\(memory)", "--name=\(name)"]
        // The parser takes no empty value after "=".
        words += cmdline.isEmpty ? ["--cmdline", ""] : ["--cmdline=\(cmdline)"]
        if let timeout { words.append("--timeout=\(timeout)") }
        if debug { words.append("--debug") }
        if counters { words.append("--counters") }
        return words
    }
}
