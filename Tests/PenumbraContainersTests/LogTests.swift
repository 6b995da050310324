// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraContainers

@Suite struct LogTests {
    private let directory: TemporaryDirectory
    private var log: LogDirectory { LogDirectory(path: directory.path + "/log") }

    init() throws { directory = try TemporaryDirectory() }

    private func writer(_ limits: LogLimits = .standard) throws -> LogWriter {
        try LogWriter(log, limits: limits) { [log] () throws(SystemError) in
            try log.begin(keeping: limits.files)
        }
    }

    private func records(_ reader: LogReader? = nil) throws -> [LogRecord] {
        var records: [LogRecord] = []
        try (reader ?? LogReader(log)).drain { records += $0 }
        return records
    }

    private func text(_ records: [LogRecord]) -> String {
        String(decoding: records.flatMap(\.bytes), as: UTF8.self)
    }

    @Test func whatIsWrittenIsReadLineByLine() throws {
        let writer = try writer()
        let time = Timestamp(seconds: 1_795_000_000, nanoseconds: 5)
        try writer.append(Array("one\ntwo\nthr".utf8), stream: .standard, at: time)
        try writer.append(Array("ee\n".utf8) + [0xff, 0x00, 0x0a], stream: .error, at: time)
        let records = try records()
        #expect(
            records.map(\.bytes) == [
                Array("one\n".utf8), Array("two\n".utf8), Array("thr".utf8), Array("ee\n".utf8),
                [0xff, 0x00, 0x0a],
            ])
        #expect(records.map(\.stream) == [.standard, .standard, .standard, .error, .error])
        #expect(records.allSatisfy { $0.time == time })
    }

    @Test func aReaderSeesWhatIsAddedLater() throws {
        let writer = try writer()
        let reader = LogReader(log)
        #expect(try reader.next().isEmpty)
        try writer.append(Array("late\n".utf8), stream: .standard)
        #expect(try reader.next().map(\.bytes) == [Array("late\n".utf8)])
    }

    @Test func aWriterThatWasKilledInMidRecordCostsThatRecord() throws {
        try writer().append(Array("whole\n".utf8), stream: .standard)
        let whole = try Files.read(log.file(1))
        try Files.write(whole + whole.prefix(20), to: log.file(1))
        #expect(try records().count == 1)
        try writer().append(Array("next\n".utf8), stream: .standard)
        #expect(try records().map(\.bytes) == [Array("whole\n".utf8), Array("next\n".utf8)])
    }

    /// Lines that have a hundred bytes each in a file, or a few more.
    private func write(_ numbers: Range<Int>, by writer: LogWriter) throws {
        for number in numbers { try writer.append(Array("\(number)\n".utf8), stream: .standard) }
    }

    @Test func aLogIsBounded() throws {
        let writer = try writer(LogLimits(fileSize: 1000, files: 3))
        try write(0..<200, by: writer)
        #expect(log.numbers().count == 3)
        for number in log.numbers() { #expect(try Files.size(log.file(number)) <= 1000) }
        let kept = try records()
        #expect(kept.last.map { text([$0]) } == "199\n" && (20...40).contains(kept.count))
        let first = 200 - kept.count
        #expect(text(kept) == (first..<200).map { "\($0)\n" }.joined())
    }

    /// However much comes at once.
    @Test func aSingleAppendIsSpreadOverFiles() throws {
        let writer = try writer(LogLimits(fileSize: 1000, files: 2))
        try writer.append([UInt8](repeating: UInt8(ascii: "\n"), count: 10_000), stream: .standard)
        #expect(log.numbers().count == 2)
        for number in log.numbers() { #expect(try Files.size(log.file(number)) <= 1000) }
    }

    @Test func aRecordThatIsLongerThanAFileHasOneOfItsOwn() throws {
        let writer = try writer(LogLimits(fileSize: 1000, files: 3))
        let long = [UInt8](repeating: UInt8(ascii: "x"), count: 5000)
        for bytes in [Array("a\n".utf8), long, Array("b\n".utf8)] {
            try writer.append(bytes, stream: .standard)
        }
        #expect(try records().map(\.bytes.count) == [2, 5000, 2])
    }

    @Test(arguments: [1, 2]) func aFollowerMissesNothingThatWasThereWhenItLooked(_ files: Int) throws {
        let writer = try writer(LogLimits(fileSize: 1000, files: files))
        let reader = LogReader(log)
        var followed = ""
        for round in 0..<50 {
            // Less than a file's worth: the one that is read may get a successor, not two.
            try write((round * 5)..<(round * 5 + 5), by: writer)
            followed += text(try records(reader))
        }
        #expect(followed == (0..<250).map { "\($0)\n" }.joined())
    }

    @Test func aFollowerThatFallsBehindGoesOnWithWhatIsLeft() throws {
        let writer = try writer(LogLimits(fileSize: 1000, files: 2))
        let reader = LogReader(log)
        try write(0..<5, by: writer)
        #expect(try records(reader).count == 5)
        try write(5..<200, by: writer)
        let rest = text(try records(reader))
        #expect(rest.hasSuffix("\n198\n199\n"))
        #expect(try records(reader).isEmpty)
    }

    @Test func aWriterGoesOnWhereTheLastOneStopped() throws {
        let limits = LogLimits(fileSize: 1000, files: 2)
        for round in 0..<20 { try write((round * 3)..<(round * 3 + 3), by: writer(limits)) }
        #expect(log.numbers().count == 2)
        #expect(text(try records()).hasSuffix("\n58\n59\n"))
    }

    @Test(arguments: [(0, ""), (1, "c\n"), (2, "b2\nc\n"), (3, "a\nb1b2\nc\n"), (9, "a\nb1b2\nc\n")])
    func aTailHoldsLines(_ lines: Int, _ expected: String) throws {
        let pieces = ["a\n", "b1", "b2\n", "c\n"]
        var tail = LogTail(lines: lines)
        for piece in pieces {
            tail.append(LogRecord(time: .now, stream: .standard, bytes: Array(piece.utf8)))
        }
        let text = tail.kept.map { String(decoding: $0.bytes, as: UTF8.self) }.joined()
        #expect(lines == 2 ? text == "b1b2\nc\n" : text == expected)
    }
}

@Suite struct TimestampTests {
    @Test(arguments: [
        ("2026-11-21T18:50:05.123456789Z", Int64(1_795_287_005), Int32(123_456_789)),
        ("1970-01-01T00:00:00Z", 0, 0), ("1970-01-01T01:00:00.5+01:00", 0, 500_000_000),
    ])
    func momentsAreRead(_ text: String, _ seconds: Int64, _ nanoseconds: Int32) throws {
        #expect(Timestamp(text) == Timestamp(seconds: seconds, nanoseconds: nanoseconds))
    }

    @Test func momentsAreWrittenAsTheyAreRead() {
        let moment = Timestamp(seconds: 1_795_287_005, nanoseconds: 1)
        #expect(moment.description == "2026-11-21T18:50:05.000000001Z")
        #expect(Timestamp(moment.description) == moment)
    }

    @Test(arguments: [
        "", "2026-11-21", "2026-13-21T18:50:05Z", "2026-11-21T18:50:05", "2026-11-21T18:50:05.Z",
    ])
    func otherTextsAreNone(_ text: String) { #expect(Timestamp(text) == nil) }
}
