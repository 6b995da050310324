// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraVMM

@Suite struct KernelImageTests {
    private static let limit: UInt64 = 64 << 20

    private func problem(_ file: [UInt8], limit: UInt64 = limit) -> KernelImage.Problem? {
        do { _ = try KernelImage(file, memoryLimit: limit) } catch { return error }
        return nil
    }

    private func noteProblem(_ change: (inout KernelBuilder) -> Void) -> XenNotes.Problem? {
        var builder = KernelBuilder()
        change(&builder)
        guard case .notes(let problem)? = problem(builder.elf()) else { return nil }
        return problem
    }

    // MARK: Containers

    @Test func aPlainKernelIsRead() throws {
        let image = try KernelImage(KernelBuilder().elf(), memoryLimit: Self.limit)
        #expect(image.notes.entry == KernelBuilder.virtualBase + 0x100_0040)
        #expect(image.notes.virtualBase == KernelBuilder.virtualBase)
        #expect(image.notes.initialP2M == KernelBuilder.p2mAddress)
        #expect(image.notes.moduleIsFrame && image.notes.hypercallPage == nil)
        #expect(image.program.end == 0x100_2345)
    }

    @Test(arguments: [PayloadDecoder.Format.gzip, .xz, .lz4, .zstd])
    func aBzImageIsRead(_ format: PayloadDecoder.Format) throws {
        let elf = KernelBuilder().elf()
        let file = KernelBuilder.bzImage(payload: Compressor.payload(format, elf))
        #expect(try KernelImage(file, memoryLimit: Self.limit).program.bytes == elf)
    }

    @Test func otherFilesAreRefused() {
        #expect(problem([]) == .unknownFormat)
        #expect(problem(Array("#!/bin/sh".utf8)) == .unknownFormat)
        #expect(problem(Array(repeating: 0, count: 100_000)) == .unknownFormat)
    }

    @Test func everyTruncationOfABzImageIsNoticed() {
        let file = KernelBuilder.bzImage(payload: Compressor.payload(.gzip, KernelBuilder().elf()))
        for count in 0..<file.count {
            #expect(problem(Array(file.prefix(count))) != nil, "\(count) bytes")
        }
        #expect(
            problem(Array(file.dropLast())) == .bzImage(.truncated(wanted: file.count, size: file.count - 1)))
    }

    @Test func impossibleHeadersAreNoticed() {
        let payload = Compressor.payload(.gzip, KernelBuilder().elf())
        #expect(
            problem(KernelBuilder.bzImage(payload: payload, version: 0x207)) == .bzImage(.oldProtocol(0x207)))
        #expect(problem(KernelBuilder.bzImage(payload: [])) == .bzImage(.noPayload))
        let file = KernelBuilder.bzImage(payload: payload)
        for offset in [0x248, 0x24c] {
            guard
                case .bzImage(.truncated)? = problem(ElfBuilder.patch(file, at: offset, 0xffff_ffff, size: 4))
            else {
                Issue.record("offset \(offset)")
                continue
            }
        }
    }

    @Test func aKernelThatIsNoProgramIsRefused() {
        let file = KernelBuilder.bzImage(payload: Compressor.payload(.zstd, Array("no program".utf8)))
        #expect(problem(file) == .elf(.notElf))
    }

    @Test func aKernelThatDoesNotFitIsRefused() {
        guard case .elf(.outside)? = problem(KernelBuilder().elf(), limit: 0x100_2344) else {
            Issue.record("a kernel larger than the memory")
            return
        }
    }

    // MARK: Notes

    @Test func kernelsWithoutXenNotesAreTold() {
        #expect(noteProblem { $0.notes = [] } == XenNotes.Problem.none)
        // PVH alone.
        #expect(
            noteProblem { $0.notes = [(18, UInt32(0x100_0000).littleEndianBytes)] } == XenNotes.Problem.none)
    }

    @Test func incompleteNotesAreTold() {
        #expect(noteProblem { $0.set(1, nil) } == .missing("ENTRY"))
        #expect(noteProblem { $0.set(3, nil) } == .missing("VIRT_BASE"))
        #expect(noteProblem { $0.set(4, UInt64(5).littleEndianBytes) } == .offset(5))
        #expect(noteProblem { $0.set(1, [1, 2, 3]) } == .badSize(note: 1, size: 3))
    }

    @Test func notesOfFourBytesCount() throws {
        var builder = KernelBuilder()
        builder.set(16, UInt32(0).littleEndianBytes)
        #expect(try !KernelImage(builder.elf(), memoryLimit: Self.limit).notes.moduleIsFrame)
    }

    @Test func truncatedAndImpossibleNotesAreNoticed() {
        var section: [UInt8] = []
        var ends: Set<Int> = []
        for (type, content) in KernelBuilder().notes {
            section += KernelBuilder.note(type, content)
            ends.insert(section.count)
        }
        for count in 1..<section.count where !ends.contains(count) {
            let file = KernelBuilder().elf(section: Array(section.prefix(count)))
            #expect(problem(file) != nil, "\(count) bytes")
        }
        for offset in [0, 4] {
            let damaged = ElfBuilder.patch(section, at: offset, 0xffff_fffe, size: 4)
            #expect(problem(KernelBuilder().elf(section: damaged)) == .notes(.truncated))
        }
    }

    // MARK: Debian's

    @Test(.enabled(if: !KernelBuilder.debianKernels.isEmpty), arguments: KernelBuilder.debianKernels)
    func debiansKernelsAreRead(_ path: String) throws {
        let image = try KernelImage(try Files.read(path), memoryLimit: 256 << 20)
        #expect(image.notes.virtualBase == KernelBuilder.virtualBase)
        #expect(image.notes.initialP2M == KernelBuilder.p2mAddress)
        #expect(image.notes.moduleIsFrame)
        #expect(image.program.segments.first?.physical == GuestPhysical(0x100_0000))
        let entry = image.notes.entry - image.notes.virtualBase
        #expect(image.program.segments.contains { $0.physical.value <= entry && entry < $0.end })
    }

    @Test(.enabled(if: !KernelBuilder.debianKernels.isEmpty), arguments: KernelBuilder.debianKernels)
    func damageInDebiansKernelsIsNoticed(_ path: String) throws {
        var file = try Files.read(path)
        // lz4's legacy frame has no checksum: a whole page, which cannot be sound.
        file.replaceSubrange(file.count / 2..<file.count / 2 + 4096, with: repeatElement(0xff, count: 4096))
        guard case .payload(.damaged)? = problem(file, limit: 256 << 20) else {
            Issue.record("\(path) with a wrong page")
            return
        }
    }
}
