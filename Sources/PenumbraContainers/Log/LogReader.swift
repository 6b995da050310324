// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The records of a log, from its beginning, and those that are added meanwhile.
public final class LogReader {
    private static let chunk = 64 << 10

    private let directory: LogDirectory
    /// The file that is read; 0: none yet.
    private var number: UInt64 = 0
    private var file: Descriptor?
    private var partial: [UInt8] = []

    init(_ directory: LogDirectory) { self.directory = directory }

    /// What has been written since the last call; empty: nothing yet. What is no record is skipped, and
    /// so are files that went before they were read.
    public func next() throws(SystemError) -> [LogRecord] {
        while true {
            // Looked for before the read: a file that has a successor is not written to any more.
            let successor = directory.numbers().first { $0 > number }
            if let bytes = try file?.read(atMost: Self.chunk), !bytes.isEmpty {
                let records = take(bytes)
                // A chunk may hold nothing whole yet, and more is there.
                if !records.isEmpty { return records }
            } else if let successor {
                try begin(successor)
            } else {
                return []
            }
        }
    }

    /// All that is there now, piece by piece.
    public func drain(_ body: ([LogRecord]) throws -> Void) throws {
        while case let records = try next(), !records.isEmpty { try body(records) }
    }

    private func take(_ bytes: [UInt8]) -> [LogRecord] {
        partial += bytes
        var records: [LogRecord] = []
        var start = partial.startIndex
        while let end = partial[start...].firstIndex(of: UInt8(ascii: "\n")) {
            if let record = LogRecord(line: partial[start..<end]) { records.append(record) }
            start = end + 1
        }
        partial.removeFirst(start)
        return records
    }

    /// A file that went meanwhile is left out.
    private func begin(_ successor: UInt64) throws(SystemError) {
        (number, partial) = (successor, [])
        do { file = try Descriptor(path: directory.file(successor), flags: O_RDONLY) } catch {
            guard error.code == ENOENT else { throw error }
            file = nil
        }
    }
}

/// The last lines of a log: records are pieces of lines where the process wrote lines piecemeal.
public struct LogTail: Sendable {
    private let limit: Int
    private var records: [LogRecord] = []
    private var lines = 0

    /// - Parameter limit: lines to keep.
    public init(lines limit: Int) { self.limit = limit }

    public mutating func append(_ record: LogRecord) {
        records.append(record)
        if record.endsLine { lines += 1 }
        while lines > limit || (lines == limit && !record.endsLine && limit > 0) {
            guard dropFirstLine() else { return }
        }
    }

    /// False: there is no whole line to drop.
    private mutating func dropFirstLine() -> Bool {
        guard let end = records.firstIndex(where: \.endsLine) else { return false }
        records.removeFirst(end + 1)
        lines -= 1
        return true
    }

    public var kept: [LogRecord] { limit == 0 ? [] : records }
}

extension LogRecord {
    var endsLine: Bool { bytes.last == UInt8(ascii: "\n") }
}

/// What a container has written, for those who read it.
extension ContainerStore {
    /// How often a log that is followed is looked at, in microseconds.
    private static let period: UInt32 = 100_000

    /// nil: it was never started.
    public func log(of id: ContainerID) throws -> LogReader? {
        let log = files(id).log
        return Files.exists(log.path) ? LogReader(log) : nil
    }

    /// What the guest's kernel said; nil: it was never started.
    public func bootLog(of id: ContainerID) throws -> Descriptor? {
        do { return try Descriptor(path: files(id).bootLog, flags: O_RDONLY) } catch {
            guard error.code == ENOENT else { throw error }
            return nil
        }
    }

    /// Calls `body` again and again until the container has ended, and once more then.
    public func follow(_ id: ContainerID, _ body: () throws -> Void) throws {
        while true {
            let isRunning = (try? container(id).state.isRunning) ?? false
            try body()
            guard isRunning else { return }
            usleep(Self.period)
        }
    }
}
