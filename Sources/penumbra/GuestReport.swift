// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CPenumbra
import Glibc
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

/// Tells the user how a guest ended, for the verbs that run one.
struct GuestReport {
    let device: Device
    let timeout: Double?
    let explain: GuestProcess.Explanation

    func status(of outcome: GuestOutcome) throws -> Int32 {
        switch outcome {
        case .exited(let status): return Int32(status)
        case .reboot:
            Output.note("the guest rebooted, which ended it")
            return ExitStatus.rebooted
        case .panicked:
            Output.note("the guest panicked")
            return ExitStatus.guestPanicked
        case .left:
            Output.note("left the guest, which ended it")
            return ExitStatus.killed
        case .killed:
            Output.note("the VM was ended by another process's request")
            return ExitStatus.killed
        case .interrupted(let signal): return ExitStatus.interrupted(by: signal)
        case .timedOut:
            Output.note("the guest ran longer than \(timeout ?? 0) s")
            return ExitStatus.timedOut
        case .crashed(let report):
            Output.note("\(report)")
            return try explain(report)
        }
    }

    private func explain(_ report: CrashReport) throws -> Int32 {
        switch report.culprit {
        case .guest: return ExitStatus.guestCrashed
        case .host: return ExitStatus.hostFailed
        case .user: return ExitStatus.killed
        case .core:
            let location = CoreLocation(buildID: BuildID(try device.info()), address: report.rip)
            Output.note(location.announcement)
            explain(location)
            return ExitStatus.coreBug
        }
    }

    /// File and line of a bug of the core's. In a machine there are neither symbols nor tools: the penumbra
    /// outside looks.
    static func explanation(in place: PlaceOption) -> GuestProcess.Explanation {
        { if !place.here { Output.note($0.explanation(Installation())) } }
    }

    static func printCounters(_ counters: penumbra_counters) {
        for (name, value) in CounterList.named(counters) where value != 0 {
            Output.note("counter \(name) \(value)")
        }
    }

    /// Runs a verb's work; an error becomes one line and an exit status.
    static func exit(failure: Int32 = ExitStatus.failed, with work: () throws -> Int32) throws -> Never {
        let status: Int32
        do { status = try work() } catch let code as ExitCode {
            throw code
        } catch {
            Output.note("\(error)")
            throw ExitCode(failure)
        }
        throw ExitCode(status)
    }
}

/// Runs a verb of this program in a machine, on files from out here.
struct RemoteGuest {
    let connection: Connection
    let verb: String
    /// Options before the files, each one word, for the penumbra in the machine.
    let options: [String]
    let input: Input
    /// Called when the terminal's size changes.
    var whenResized: (() -> Void)?

    enum Input {
        case asItIs
        /// The guest takes what is typed: a terminal is made raw, and the penumbra in the machine told so.
        case raw
    }

    /// Descriptors for the files, from here on.
    private static let firstDescriptor = 3

    /// Each of `files` is an option's prefix, such as "--kernel=" or nothing, and a file's content.
    /// The files are gone from the machine as soon as they are open.
    func run(_ files: [(prefix: String, content: [UInt8])]) throws -> Int32 {
        var words: [String] = []
        var script = ""
        for (index, file) in files.enumerated() {
            let path = "\(Connection.transientFiles)/\(index)-\(UInt64.random(in: .min ... .max))"
            try connection.put(file.content, to: path)
            let number = Self.firstDescriptor + index
            script += "exec \(number)<\(path) && rm \(path) && "
            words.append("\(file.prefix)/proc/self/fd/\(number)")
        }
        script += "exec penumbra \(verb) --here \"$@\""
        let command = ["/bin/sh", "-c", script, "sh"] + options + words
        // Not before: while files are copied, Control-C is for us. Not later: nothing ends us while
        // the terminal is raw.
        let signals = try RemoteProgram.takeSignals()
        guard input == .raw else { return try run(Command(command), signals) }
        return try RawTerminal.during { try run(Command(command + ($0 ? ["--typed"] : [])), signals) }
    }

    private func run(_ command: Command, _ signals: Descriptor) throws -> Int32 {
        var errors: [UInt8] = []
        let end = try RemoteProgram.run(
            command, on: connection, signals: signals, whenResized: whenResized
        ) { errors += $0 }
        // Never by us: only signals that can be caught are passed on.
        if end == .killed(signal: SIGKILL) {
            Output.note(
                "the VM's process was killed in the machine: "
                    + "'penumbra machine logs' tells whether memory ran out")
        }
        let status = end.exitCode
        if status == ExitStatus.coreBug,
            let location = CoreLocation(in: String(decoding: errors, as: UTF8.self))
        {
            Output.note(location.explanation(Installation()))
        }
        return status
    }
}
