// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// How much of a container's output is kept.
public struct LogLimits: Equatable, Sendable {
    /// A file is not written to beyond so many bytes, but for a single record that has more.
    public var fileSize: UInt64
    /// The oldest of more files goes.
    public var files: Int

    /// 30 MiB in all.
    public static let standard = LogLimits(fileSize: 10 << 20, files: 3)

    public init(fileSize: UInt64, files: Int) { (self.fileSize, self.files) = (fileSize, files) }
}

/// A container's log, a directory of files with growing numbers:
///
///     log/7     the oldest that is still there
///     log/8
///     log/9     the one that is written to
///
/// A full file has a successor and is never written to again; no file changes its name. So whoever reads
/// goes from one to the next higher number that is there, and a writer may be killed at any step.
struct LogDirectory: Sendable {
    let path: String

    func file(_ number: UInt64) -> String { "\(path)/\(number)" }

    /// The files' numbers, the oldest first.
    func numbers() -> [UInt64] { Files.list(path).compactMap { UInt64($0) }.sorted() }

    func open(_ number: UInt64) throws(SystemError) -> Descriptor {
        try Descriptor(path: file(number), flags: O_RDWR | O_CREAT | O_APPEND, mode: 0o600)
    }

    /// The successor of the last file. So many are kept, with it; whoever reads one that goes has it open,
    /// and reads it to its end.
    func begin(keeping count: Int) throws(SystemError) -> Descriptor {
        let numbers = numbers()
        for old in numbers.dropLast(count - 1) { Files.remove(file(old)) }
        return try open((numbers.last ?? 0) + 1)
    }
}
