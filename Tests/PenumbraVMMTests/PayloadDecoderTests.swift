// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraVMM

@Suite struct PayloadDecoderTests {
    private static let supported: [PayloadDecoder.Format] = [.gzip, .xz, .lz4, .zstd]
    private static let limit = 1 << 20

    /// Compressible, but not to nothing.
    private static let content: [UInt8] = {
        var generator = SeededGenerator(seed: 7)
        return (0..<40_000).map { UInt8($0 % 7) &* UInt8.random(in: 0...3, using: &generator) }
    }()

    private func problem(_ payload: [UInt8], limit: Int = limit) -> PayloadDecoder.Problem? {
        do { _ = try PayloadDecoder.decode(payload[...], limit: limit) } catch { return error }
        return nil
    }

    @Test(arguments: supported) func whatWasPackedIsUnpacked(_ format: PayloadDecoder.Format) throws {
        for content in [Self.content, [], [1]] {
            let payload = Compressor.payload(format, content)
            #expect(try PayloadDecoder.decode(payload[...], limit: Self.limit) == content)
        }
    }

    @Test func lz4OfSeveralBlocksIsUnpacked() throws {
        let content = (0..<(20 << 20)).map { UInt8(truncatingIfNeeded: $0 >> 12) }
        let payload = Compressor.payload(.lz4, content)
        #expect(try PayloadDecoder.decode(payload[...], limit: 32 << 20) == content)
    }

    @Test(arguments: supported) func everyTruncationIsNoticed(_ format: PayloadDecoder.Format) {
        let payload = Compressor.payload(format, Array(Self.content.prefix(2000)))
        for count in 0..<payload.count {
            #expect(problem(Array(payload.prefix(count))) != nil, "\(count) bytes")
        }
    }

    @Test(arguments: supported) func aWrongSizeIsNoticed(_ format: PayloadDecoder.Format) {
        let payload = Compressor.payload(format, Self.content)
        for size in [0, Self.content.count - 1, Self.content.count + 1] {
            let patched = ElfBuilder.patch(payload, at: payload.count - 4, UInt64(size), size: 4)
            guard case .damaged(format, _)? = problem(patched) else {
                Issue.record("\(format) with size \(size)")
                continue
            }
        }
    }

    /// What claims to be huge costs no memory; what is huge without saying so is not unpacked.
    @Test(arguments: supported) func bombsAreRefused(_ format: PayloadDecoder.Format) {
        let payload = Compressor.payload(format, [UInt8](repeating: 0, count: 4 << 20))
        #expect(problem(payload) == .tooLarge(claimed: 4 << 20, limit: Self.limit))
        let modest = ElfBuilder.patch(payload, at: payload.count - 4, 4096, size: 4)
        guard case .damaged? = problem(modest) else {
            Issue.record("\(format) bomb")
            return
        }
        let immense = ElfBuilder.patch(payload, at: payload.count - 4, 0xffff_ffff, size: 4)
        #expect(problem(immense) == .tooLarge(claimed: 0xffff_ffff, limit: Self.limit))
    }

    @Test(arguments: supported) func bytesBehindTheStreamAreNoticed(_ format: PayloadDecoder.Format) {
        let payload = Compressor.payload(format, Self.content)
        let longer =
            Array(payload.dropLast(4)) + [1, 2, 3, 4, 5] + UInt32(Self.content.count).littleEndianBytes
        #expect(problem(longer) != nil)
    }

    /// No damage makes a decoder trap, or give another amount than was said.
    @Test(arguments: supported) func randomDamageIsSurvived(_ format: PayloadDecoder.Format) {
        let sound = Compressor.payload(format, Self.content)
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<2000 {
            var payload = sound
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                payload[Int.random(in: payload.indices, using: &generator)] = UInt8.random(
                    in: 0...255, using: &generator)
            }
            guard let result = try? PayloadDecoder.decode(payload[...], limit: Self.limit) else { continue }
            #expect(result.count <= Self.limit)
        }
    }

    @Test(arguments: [PayloadDecoder.Format.bzip2, .lzma, .lzo])
    func otherFormatsAreNamed(_ format: PayloadDecoder.Format) {
        #expect(problem(Compressor.payload(format, Self.content)) == .unsupported(format))
    }

    @Test func unknownFormatsAreNoticed() {
        #expect(problem([]) == .unknownFormat)
        #expect(problem(Array(repeating: 0x55, count: 100)) == .unknownFormat)
    }
}
