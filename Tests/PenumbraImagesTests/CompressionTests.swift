// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraImages

@Suite struct CompressionTests {
    private static let content: [UInt8] = (0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) }

    private func packed(_ program: String, _ content: [UInt8]) throws -> [UInt8] {
        let directory = try TemporaryDirectory()
        try Files.write(content, to: directory.file("in"))
        let command = "\(program) -c < \(directory.file("in")) > \(directory.file("out"))"
        _ = try ChildProcess.output("sh", ["-c", command])
        return try Files.read(directory.file("out"))
    }

    private func unpack(_ bytes: [UInt8], piece: Int = .max) throws -> [UInt8] {
        let source = try Compression.unpacking(BytesSource(bytes, piece: piece))
        var content: [UInt8] = []
        while true {
            let more = try source.read(atMost: 10_000)
            if more.isEmpty { return content }
            content += more
        }
    }

    @Test(arguments: ["gzip", "zstd"], [1000, Int.max])
    func whatWasPackedIsUnpacked(_ program: String, _ piece: Int) throws {
        let bytes = try packed(program, Self.content)
        #expect(try unpack(bytes, piece: piece) == Self.content)
        // Both formats may have several parts.
        #expect(try unpack(bytes + bytes, piece: piece) == Self.content + Self.content)
    }

    @Test func otherStreamsStayAsTheyAre() throws {
        for content in [[], [1], Self.content] { #expect(try unpack(content) == content) }
    }

    @Test(arguments: ["gzip", "zstd"]) func truncationAndDamageAreNoticed(_ program: String) throws {
        let bytes = try packed(program, Array(Self.content.prefix(3000)))
        for count in 4..<bytes.count {
            #expect(throws: ImageError.self, "\(count) bytes") { try unpack(Array(bytes.prefix(count))) }
        }
        #expect(throws: ImageError.self) { try unpack(bytes + [1, 2, 3]) }
    }

    @Test(arguments: ["bzip2", "xz"]) func otherFormatsAreNamed(_ program: String) throws {
        let bytes = try packed(program, [1, 2, 3])
        #expect { try unpack(bytes) } throws: { "\($0)".contains(program) }
    }
}
