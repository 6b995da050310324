// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraVMM

@Suite struct CompactElfTests {
    private static func program(_ change: (inout ElfBuilder) -> Void = { _ in }) throws -> ElfImage {
        var builder = ElfBuilder()
        change(&builder)
        return try ElfImage(builder.build(), limit: 1 << 24)
    }

    @Test func zerosAtTheEndsOfSegmentsAreLeftOut() throws {
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        let image = try Self.program {
            $0.segments = [
                ElfBuilder.Segment(
                    address: 0x100000, virtual: 0xff00_0000, content: [1, 0, 2] + zeros, memorySize: 3 << 20),
                ElfBuilder.Segment(type: 4, address: 0, content: [9, 9, 0]),
                ElfBuilder.Segment(address: 0x40_0000, content: zeros),
            ]
        }
        let file = image.compacted
        #expect(file.count < 300)
        let compact = try ElfImage(file, limit: 1 << 24)
        #expect(compact.entry == image.entry)
        #expect(compact.segments.map { Array(file[$0.content]) } == [[1, 0, 2], []])
        for (new, old) in zip(compact.segments, image.segments) {
            #expect(
                new.physical == old.physical && new.virtual == old.virtual && new.memorySize == old.memorySize
            )
        }
        // Whose last byte counts.
        #expect(compact.notes.map { Array(file[$0]) } == [[9, 9, 0]])
    }

    @Test func aCompactProgramStaysAsItIs() throws {
        let file = try Self.program().compacted
        #expect(try ElfImage(file, limit: 1 << 24).compacted == file)
    }
}
