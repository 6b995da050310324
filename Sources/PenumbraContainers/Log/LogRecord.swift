// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem

/// What a container's main process wrote, in lines of JSON:
///
///     {"time":"2026-11-21T18:50:05.123456789Z","stream":"stdout","text":"hello\n"}
///
/// A record holds a line of the output, or as much of it as came at once; bytes that are no UTF-8 stand
/// under "bytes", in hexadecimal, in place of "text". A writer that is killed leaves a record without
/// its line feed: readers skip it, and the next writer ends it. LogDirectory has the files.
public struct LogRecord: Equatable, Sendable {
    public var time: Timestamp
    public var stream: OutputStream
    public var bytes: [UInt8]

    public init(time: Timestamp, stream: OutputStream, bytes: [UInt8]) {
        (self.time, self.stream, self.bytes) = (time, stream, bytes)
    }

    var line: [UInt8] {
        let content: (String, JSON) =
            String(validating: bytes, as: UTF8.self).map { ("text", .string($0)) }
            ?? ("bytes", .string(Self.hexadecimal(bytes)))
        let json = JSON.object([
            ("time", .string(time.description)),
            ("stream", .string(stream == .standard ? "stdout" : "stderr")), content,
        ])
        return Array((json.text + "\n").utf8)
    }

    /// nil: no record.
    init?(line: some Collection<UInt8>) {
        guard let json = try? JSON(parsing: Array(line)),
            let time = json["time"]?.string.flatMap({ Timestamp($0) }),
            let stream = json["stream"]?.string, stream == "stdout" || stream == "stderr",
            let bytes = json["text"]?.string.map({ Array($0.utf8) })
                ?? json["bytes"]?.string.flatMap(Self.bytes(hexadecimal:))
        else { return nil }
        self.init(time: time, stream: stream == "stdout" ? .standard : .error, bytes: bytes)
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static func bytes(hexadecimal text: String) -> [UInt8]? {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == text.utf8.count, digits.count.isMultiple(of: 2) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
