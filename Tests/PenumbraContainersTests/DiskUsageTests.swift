// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraContainers

@Suite struct DiskUsageTests {
    @Test func filesCountOnceAndHolesDoNot() throws {
        let directory = try TemporaryDirectory()
        try Files.makeDirectories(directory.file("d"))
        let empty = Files.occupied(directory.path)
        try Files.write([UInt8](repeating: 1, count: 1 << 20), to: directory.file("d/file"))
        link(directory.file("d/file"), directory.file("again"))
        symlink("/usr", directory.file("link"))
        let sparse = try Descriptor(path: directory.file("sparse"), flags: O_WRONLY | O_CREAT, mode: 0o600)
        try sparse.setSize(1 << 30)
        let full = Files.occupied(directory.path)
        #expect((1 << 20..<(1 << 20) + (64 << 10)).contains(full - empty))
        #expect(Files.occupied(directory.file("nosuch")) == 0)
    }
}
