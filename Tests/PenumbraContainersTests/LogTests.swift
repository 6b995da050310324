// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraContainers

@Suite struct LogTests {
    private let directory: TemporaryDirectory
    private var path: String { directory.path + "/log" }

    init() throws { directory = try TemporaryDirectory() }

    private func records() throws -> [LogRecord] {
        let reader = try LogReader(path: path)
        var records: [LogRecord] = []
        while case let more = try reader.next(), !more.isEmpty { records += more }
        return records
    }

    @Test func whatIsWrittenIsReadLineByLine() throws {
        let writer = try LogWriter(path: path)
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
        let writer = try LogWriter(path: path)
        let reader = try LogReader(path: path)
        #expect(try reader.next().isEmpty)
        try writer.append(Array("late\n".utf8), stream: .standard)
        #expect(try reader.next().map(\.bytes) == [Array("late\n".utf8)])
    }

    @Test func aWriterThatWasKilledInMidRecordCostsThatRecord() throws {
        try LogWriter(path: path).append(Array("whole\n".utf8), stream: .standard)
        let whole = try Files.read(path)
        try Files.write(whole + whole.prefix(20), to: path)
        #expect(try records().count == 1)
        try LogWriter(path: path).append(Array("next\n".utf8), stream: .standard)
        #expect(try records().map(\.bytes) == [Array("whole\n".utf8), Array("next\n".utf8)])
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
