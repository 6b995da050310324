// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraVMM

@Suite struct ConsoleOutputTests {
    private static let patience = 30.0

    /// All that arrives until the last writer has gone.
    private func drain(_ pipe: Descriptor) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let more = try pipe.read(atMost: 1 << 16), !more.isEmpty { bytes += more }
        return bytes
    }

    /// An output and the end where it arrives.
    private func output(limit: Int = 1 << 20) throws -> (ConsoleOutput, Descriptor) {
        let (read, write) = try ChildProcess.pipe()
        return (try ConsoleOutput(to: write, limit: limit), read)
    }

    @Test func everythingArrivesInOrder() throws {
        let (output, reader) = try output()
        for index in 0..<100 { output.append(Array("line \(index)\n".utf8)) }
        output.finish(within: Self.patience)
        let expected = (0..<100).map { "line \($0)\n" }.joined()
        #expect(try drain(reader) == Array(expected.utf8))
    }

    /// Far more than pipe and buffer hold, and nobody reads: nothing waits, the newest is kept.
    @Test func aReaderThatDoesNotReadLosesTheOldest() throws {
        let (output, reader) = try output(limit: 10_000)
        for _ in 0..<1000 { output.append([UInt8](repeating: 120, count: 1000)) }
        output.append(Array("the end".utf8))
        output.finish(within: 0.05)
        let text = String(decoding: try drain(reader), as: UTF8.self)
        #expect(text.hasSuffix("the end"))
        #expect(text.contains("bytes of output had no reader"))
        #expect(text.utf8.count < 500_000)
    }

    @Test func aReaderThatIsGoneEndsNothing() throws {
        signal(SIGPIPE, SIG_IGN)
        let (output, _) = try output()
        output.append(Array("text".utf8))
        let begin = monotonicSeconds()
        output.finish(within: Self.patience)
        #expect(monotonicSeconds() - begin < Self.patience)
    }
}
