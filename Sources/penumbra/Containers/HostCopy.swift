// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraContainers
import PenumbraImages
import PenumbraProtocol
import PenumbraSystem

/// The host's half of `penumbra cp`: files and trees here, as a tar stream from or to another process of
/// this program, `penumbra cp` with '-' for this side, which has the container, or its machine, at its
/// other end.
struct HostCopy {
    let command: CopyCommand

    private var attributes: TreeExtraction.Attributes { command.archive && geteuid() == 0 ? .owners : .ours }

    // MARK: Out of a container

    func extract(_ source: CopyPath, to path: CopyPath) throws -> Int32 {
        let signals = try RemoteProgram.takeSignals()
        let other = try start(.writer, from: command.source, to: "-")
        do {
            let extraction = try TreeExtraction(
                from: other.stream, top: source.top, attributes: attributes, interruptedBy: signals)
            try extraction.write(
                to: Self.target(path.destination, sourceIsDirectory: extraction.isDirectory))
            return try finish(other, extraction.byteCount)
        } catch CopyError.cutOff {
            return try other.status(if: CopyError.cutOff)
        } catch {
            try other.abandon()
            guard let interruption = error as? Interruption else { throw error }
            return ExitStatus.interrupted(by: interruption.signal)
        }
    }

    private static func target(_ path: [UInt8], sourceIsDirectory: Bool) throws -> CopyTarget {
        let text = String(decoding: path, as: UTF8.self)
        // A link to a file stands for the file, which is to be replaced.
        guard let resolved = Files.resolve(text) else {
            return try CopyTarget(path, existing: .nothing, sourceIsDirectory: sourceIsDirectory)
        }
        if Files.isDirectory(resolved) {
            return try CopyTarget(path, existing: .directory, sourceIsDirectory: sourceIsDirectory)
        }
        return try CopyTarget(
            Array(resolved.utf8), existing: .other, sourceIsDirectory: sourceIsDirectory)
    }

    // MARK: Into a container

    func pack(_ source: CopyPath) throws -> Int32 {
        let (parent, name) = try find(source)
        let other = try start(.reader, from: "-", to: command.destination)
        do {
            var packing = TreePacking(to: other.stream, attributes: command.archive ? .owners : .ours)
            try packing.write(name, in: parent, as: source.top)
            return try finish(other, packing.byteCount)
        } catch let error as SystemError where error.code == EPIPE {
            return try other.status(if: error)
        } catch {
            try other.abandon()
            throw error
        }
    }

    /// What to copy: a name, and the directory that it is in; "." where a slash behind the name says that
    /// it is a directory, so that a link leads there.
    private func find(_ source: CopyPath) throws -> (Directory, name: [UInt8]) {
        guard source.ending == .none else {
            return (try Directory(path: source.bytes), [UInt8(ascii: ".")])
        }
        var path = source
        if command.followLink {
            let text = String(decoding: source.bytes, as: UTF8.self)
            guard let resolved = Files.resolve(text) else {
                throw SystemError(call: "open", subject: text, code: errno)
            }
            path = CopyPath(Array(resolved.utf8))
        }
        return (try Directory(path: path.parent), path.names.last ?? path.top)
    }

    // MARK: The other process

    private func start(
        _ side: OtherCopy.Side, from source: String, to destination: String
    ) throws -> OtherCopy {
        let place = command.place
        let options =
            command.options + (side == .reader ? ["--placed"] : []) + (place.here ? ["--here"] : [])
            + (place.machine.map { ["--machine", $0] } ?? [])
        return try OtherCopy(side, options + ["--", source, destination])
    }

    private func finish(_ other: OtherCopy, _ count: UInt64) throws -> Int32 {
        let end = try other.finish()
        guard end == .exited(0) else { return end.exitCode }
        if !command.quiet {
            try Output.error.write(
                Array("Successfully copied \(ByteCount.text(count)) to \(command.destination)\n".utf8))
        }
        return 0
    }
}

/// Another process of this program, and the stream between us.
private struct OtherCopy {
    enum Side { case reader, writer }

    let stream: Descriptor
    private let process: pid_t

    init(_ side: Side, _ words: [String]) throws {
        let (read, write) = try ChildProcess.pipe()
        let (theirs, number) = side == .writer ? (write, STDOUT_FILENO) : (read, STDIN_FILENO)
        stream = side == .writer ? read : write
        process = try ChildProcess(
            program: Files.resolve("/proc/self/exe") ?? "/proc/self/exe", arguments: words,
            descriptors: [(theirs.number, number)]
        ).spawn()
    }

    /// How it ended, when there is nothing more to say or to hear.
    func finish() throws -> Termination {
        // In place of our end, whoever has it: the other one sees the stream's end.
        let null = try Descriptor(path: "/dev/null", flags: O_RDWR)
        try retrying("dup2", "a pipe") { Int(dup2(null.number, stream.number)) }
        return try ChildProcess.wait(for: process)
    }

    /// Its status, if it failed: it has said why, which `error` of ours only follows from.
    func status(if error: any Error) throws -> Int32 {
        let end = try finish()
        if end == .exited(0) { throw error }
        return end.exitCode
    }

    /// Ends it: nothing that it has to say matters any more.
    func abandon() throws {
        kill(process, SIGKILL)
        _ = try ChildProcess.wait(for: process)
    }
}
