// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraVMM

@Suite struct DiskTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func file(_ name: String = "disk", size: Int) throws -> String {
        let path = folder.path + "/" + name
        try Files.write([UInt8](repeating: 7, count: size), to: path)
        return path
    }

    /// Xen's docs/man/xen-vbd-interface.7.
    @Test(arguments: [(0, "xvda", 51712), (1, "xvdb", 51728), (15, "xvdp", 51952), (16, "xvdq", 268_439_552)])
    func disksHaveXensNumbers(_ index: Int, _ name: String, _ number: Int) {
        let disk = Disk(path: "", index: index)
        #expect(disk.name == name && disk.number == number)
    }

    @Test func aFilesSizeIsTheDisks() throws {
        let disk = try DiskFile(Disk(path: file(size: 5 * 512), index: 0))
        #expect(disk.sectors == 5)
    }

    @Test(arguments: [0, 511, 513]) func otherSizesAreRefused(_ size: Int) throws {
        let path = try file(size: size)
        #expect(throws: DiskError.badSize(path: path, bytes: UInt64(size))) {
            try DiskFile(Disk(path: path, index: 0))
        }
    }

    @Test func whatIsNotThereIsRefused() {
        let path = folder.path + "/none"
        #expect(throws: DiskError.notUsable(SystemError(call: "open", subject: path, code: ENOENT))) {
            try DiskFile(Disk(path: path, index: 0))
        }
        #expect(throws: DiskError.notUsable(SystemError(call: "open", subject: folder.path, code: EISDIR))) {
            try DiskFile(Disk(path: folder.path, isReadOnly: true, index: 0))
        }
    }

    @Test(arguments: [-1, 26]) func numbersWithoutALetterAreRefused(_ index: Int) {
        #expect(throws: DiskError.badIndex(index)) { try DiskFile(Disk(path: "/dev/null", index: index)) }
    }

    @Test func aDiskHasOneWriterOrReaders() throws {
        let path = try file(size: 512)
        do {
            let writer = try DiskFile(Disk(path: path, index: 0))
            for isReadOnly in [true, false] {
                #expect(throws: DiskError.inUse(path: path)) {
                    try DiskFile(Disk(path: path, isReadOnly: isReadOnly, index: 1))
                }
            }
            withExtendedLifetime(writer) {}
        }
        let readers = try (0..<2).map { try DiskFile(Disk(path: path, isReadOnly: true, index: $0)) }
        #expect(throws: DiskError.inUse(path: path)) { try DiskFile(Disk(path: path, index: 2)) }
        withExtendedLifetime(readers) {}
    }

    @Test func discardedBytesAreZeroesAndTheSizeStays() throws {
        let path = try file(size: 16384)
        try DiskFile(Disk(path: path, index: 0)).discard(8..<16)
        let bytes = try Files.read(path)
        #expect(bytes == (0..<16384).map { (4096..<8192).contains($0) ? 0 : 7 })
    }
}
