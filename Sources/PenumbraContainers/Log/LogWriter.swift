// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// The end of a log that is written to, by the container's monitor alone.
final class LogWriter {
    private let directory: LogDirectory
    private let limits: LogLimits
    private let successor: () throws(SystemError) -> Descriptor
    private var file: Descriptor
    /// The file's, in bytes.
    private var size: UInt64

    /// - Parameter successor: the next file, as `LogDirectory.begin` has it.
    init(
        _ directory: LogDirectory, limits: LogLimits,
        successor: @escaping () throws(SystemError) -> Descriptor
    ) throws(SystemError) {
        (self.directory, self.limits, self.successor) = (directory, limits, successor)
        try Files.makeDirectories(directory.path, mode: 0o700)
        let number = directory.numbers().last ?? 1
        file = try directory.open(number)
        size = try Files.size(directory.file(number))
        guard size > 0 else { return }
        lseek(file.number, -1, SEEK_END)
        // A writer before us was killed in mid-record.
        if let last = try file.read(atMost: 1), last != [UInt8(ascii: "\n")] {
            try write([UInt8(ascii: "\n")])
        }
    }

    /// A record for every line; what follows the last line feed is one too.
    func append(_ bytes: [UInt8], stream: OutputStream, at time: Timestamp = .now) throws(SystemError) {
        var records: [UInt8] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let end = rest.firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? rest.endIndex
            let record = LogRecord(time: time, stream: stream, bytes: Array(rest[..<end])).line
            rest = rest[end...]
            let filled = size + UInt64(records.count)
            if filled > 0, filled + UInt64(record.count) > limits.fileSize {
                try write(records)
                records = []
                try beginFile()
            }
            records += record
        }
        try write(records)
    }

    private func write(_ records: [UInt8]) throws(SystemError) {
        do {
            try file.write(records)
            size += UInt64(records.count)
        } catch {
            // A part of a record would spoil the next one.
            ftruncate(file.number, off_t(size))
            throw SystemError(call: error.call, subject: directory.path, code: error.code)
        }
    }

    private func beginFile() throws(SystemError) { (file, size) = (try successor(), 0) }
}
