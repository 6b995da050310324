// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraVMM

@Suite struct ElfImageTests {
    private static let limit: UInt64 = 0x200000
    private static let sound = ElfBuilder().build()

    private func problem(_ file: [UInt8], limit: UInt64 = limit) -> ElfImage.Problem? {
        do { try ElfImage(file, limit: limit).checkEntry() } catch { return error }
        return nil
    }

    private func patched(_ offset: Int, _ value: UInt64, size: Int) -> ElfImage.Problem? {
        problem(ElfBuilder.patch(Self.sound, at: offset, value, size: size))
    }

    @Test func aSoundFileIsRead() throws {
        let image = try ElfImage(Self.sound, limit: Self.limit)
        #expect(image.entry == 0x100000)
        #expect(image.segments.count == 1)
        #expect(image.segments[0].physical == GuestPhysical(0x100000))
        #expect(Array(image.bytes[image.segments[0].content]) == Array(1...100))
        #expect(image.end == 0x102000)
    }

    @Test func otherFilesAreRefused() {
        #expect(problem([]) == .notElf)
        #expect(problem(Array("#!/bin/sh".utf8)) == .notElf)
        #expect(patched(4, 1, size: 1) == .notElf)
        #expect(patched(5, 2, size: 1) == .notElf)
        #expect(patched(ElfBuilder.machineOffset, 183, size: 2) == .notX8664)
        #expect(patched(ElfBuilder.typeOffset, 3, size: 2) == .notStatic)
        #expect(patched(ElfBuilder.countOffset, 0, size: 2) == .noSegments)
    }

    @Test(arguments: [UInt32(2), 3]) func dynamicFilesAreRefused(_ type: UInt32) {
        var builder = ElfBuilder()
        builder.segments.append(.init(type: type, address: 0x104000, content: [0]))
        #expect(problem(builder.build()) == .notStatic)
    }

    @Test func everyTruncationIsNoticed() {
        for count in 0..<Self.sound.count {
            #expect(problem(Array(Self.sound.prefix(count))) != nil, "\(count) bytes")
        }
    }

    @Test func tablesOutsideTheFileAreNoticed() {
        for offset in [UInt64(Self.sound.count - 8), 1 << 40, .max, .max - 55] {
            #expect(patched(ElfBuilder.tableOffset, offset, size: 8) == .truncated("program headers"))
        }
        #expect(patched(ElfBuilder.countOffset, 0xffff, size: 2) == .truncated("program headers"))
        #expect(patched(54, 32, size: 2) == .truncated("program headers"))
    }

    @Test func segmentsOutsideTheFileAreNoticed() {
        for offset in [UInt64(Self.sound.count - 99), .max] {
            #expect(patched(ElfBuilder.header(0) + 8, offset, size: 8) == .truncated("segment 0"))
        }
        #expect(patched(ElfBuilder.header(0) + 32, 8193, size: 8) == .emptyMemory(segment: 0))
    }

    @Test func segmentsOutsideTheMemoryAreNoticed() {
        #expect(problem(Self.sound, limit: 0x102000) == nil)
        #expect(
            problem(Self.sound, limit: 0x101fff) == .outside(segment: 0, end: 0x102000, limit: 0x101fff))
        #expect(problem(Self.sound, limit: 0) != nil)
        let physical = ElfBuilder.header(0) + 24
        #expect(patched(physical, .max - 100, size: 8) != nil)
        #expect(patched(ElfBuilder.header(0) + 40, .max, size: 8) != nil)
    }

    @Test func overlapsAreNoticedInAnyOrder() {
        var builder = ElfBuilder()
        builder.segments.append(.init(address: 0x101fff, content: [1]))
        #expect(problem(builder.build()) == .overlap(0, 1))
        builder.segments.reverse()
        #expect(problem(builder.build()) == .overlap(0, 1))
        builder.segments[0].address = 0x102000
        #expect(problem(builder.build()) == nil)
    }

    @Test func theEntryMustBeInASegment() {
        #expect(patched(ElfBuilder.entryOffset, 0x101fff, size: 8) == nil)
        for entry in [UInt64(0), 0xfffff, 0x102000, .max] {
            #expect(patched(ElfBuilder.entryOffset, entry, size: 8) == .entryOutside(entry))
        }
    }

    /// No input makes the reader trap, and what it accepts is within its limits.
    @Test func randomDamageIsSurvived() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<20_000 {
            var file = Self.sound
            for _ in 0..<Int.random(in: 1...8, using: &generator) {
                file[Int.random(in: 0..<120, using: &generator)] = UInt8.random(
                    in: 0...255, using: &generator)
            }
            guard let image = try? ElfImage(file, limit: Self.limit) else { continue }
            for segment in image.segments {
                #expect(segment.content.upperBound <= file.count)
                #expect(segment.physical.value + segment.memorySize <= Self.limit)
                #expect(UInt64(segment.content.count) <= segment.memorySize)
            }
        }
    }
}

/// SplitMix64: small, and the same everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
