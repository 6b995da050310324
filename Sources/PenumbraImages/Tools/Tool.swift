// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// A program of Debian's that does a part of the work. What it prints is progress and goes to standard
/// error; its complaints explain its failure. It ends with its caller, if that is interrupted.
struct Tool {
    /// Of its complaints, the last are kept, in bytes.
    private static let maximumComplaint = 64 << 10
    private static let deadlySignals = [SIGINT, SIGTERM, SIGHUP]

    let path: String
    let name: String

    init(_ name: String, package: String) throws(ImageError) {
        guard let path = Files.program(name) else { throw .missingProgram(name: name, package: package) }
        (self.path, self.name) = (path, name)
    }

    /// Runs it to its end. `what` and `remedy` are for the message if it fails; `complaint` gets each piece
    /// of what it writes to standard error.
    func run(
        _ arguments: [String], what: String, remedy: String, complaint: ([UInt8]) -> Void = { _ in }
    ) throws {
        let signals = try SignalDescriptor.open(Self.deadlySignals)
        defer { Self.unblockSignals() }
        let (child, pipe) = try spawn(arguments)
        var complaints: [UInt8] = []
        while true {
            if let signal = Self.wait(for: pipe, or: signals) {
                // A process group of its own, with all that it has started.
                kill(-child, SIGTERM)
                _ = try ChildProcess.wait(for: child)
                throw Interrupted(signal: signal)
            }
            guard let bytes = try pipe.read(atMost: 4096) else { continue }
            if bytes.isEmpty { break }
            complaint(bytes)
            complaints = (complaints + bytes).suffix(Self.maximumComplaint)
        }
        let end = try ChildProcess.wait(for: child)
        guard end != .exited(0) else { return }
        let reason =
            Self.lastWords(complaints) ?? "\(name) ended with status \(end.exitCode) and said nothing"
        throw ImageError.failed(what: what, reason: reason, remedy: remedy)
    }

    /// The child and the pipe that it complains to, whose writing end only the child keeps.
    private func spawn(_ arguments: [String]) throws -> (pid_t, Descriptor) {
        let (complaints, end) = try ChildProcess.pipe()
        complaints.setNonblocking()
        let child = try ChildProcess(
            program: path, arguments: arguments, descriptors: [(STDERR_FILENO, 1), (end.number, 2)]
        ).spawn()
        return (child, complaints)
    }

    /// Waits until the pipe has something or has ended; returns a signal if one comes first.
    private static func wait(for pipe: Descriptor, or signals: Descriptor) -> Int32? {
        var list = [pipe, signals].map { pollfd(fd: $0.number, events: Int16(POLLIN), revents: 0) }
        poll(&list, nfds_t(list.count), -1)
        return signals.takeSignal()
    }

    private static func unblockSignals() {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in deadlySignals { sigaddset(&set, signal) }
        sigprocmask(SIG_UNBLOCK, &set, nil)
    }

    /// The last line that says something; of a log line of skopeo's, its message.
    static func lastWords(_ complaints: [UInt8]) -> String? {
        let lines = String(decoding: complaints, as: UTF8.self).split(whereSeparator: \.isNewline)
        guard let line = lines.last(where: { !$0.allSatisfy(\.isWhitespace) }) else { return nil }
        guard let start = line.firstRange(of: "msg=\""), line.last == "\"" else {
            return printable(line.utf8)
        }
        return printable(
            line[start.upperBound...].dropLast().replacing("\\\"", with: "'").replacing("\\n", with: " ").utf8
        )
    }
}

/// The user, or the system, wants this process to end.
public struct Interrupted: Error, CustomStringConvertible {
    public let signal: Int32

    public var description: String { "interrupted by signal \(signal)" }
}
