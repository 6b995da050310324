// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraMachine

@Suite struct CpioArchiveTests {
    private func sample() -> [UInt8] {
        var archive = CpioArchive()
        archive.addDirectory("/run")
        archive.addFile("/usr/bin/tool", Array("#!/bin/sh\n".utf8), permissions: 0o755)
        archive.addFile("/empty", [])
        archive.addFile("/odd", [1, 2, 3])
        archive.addLink("/bin/sh", to: "busybox")
        archive.addCharacterDevice("/dev/console", major: 5, minor: 1)
        archive.addDirectory("/usr/bin")
        return archive.finished()
    }

    /// What cpio(1) prints of an archive, a line an entry, single spaces.
    private func list(_ bytes: [UInt8], _ options: String) throws -> [String] {
        let directory = try TemporaryDirectory()
        try directory.write(bytes, to: "archive")
        let listing = try ChildProcess.output(
            "sh", ["-c", "cpio \(options) --quiet --numeric-uid-gid < \(directory.path)/archive"])
        return listing.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
    }

    @Test func cpioReadsTheArchive() throws {
        #expect(
            try list(sample(), "-t")
                == [
                    "run", "usr", "usr/bin", "usr/bin/tool", "empty", "odd", "bin", "bin/sh", "dev",
                    "dev/console",
                ])
        let lines = try list(sample(), "-tv")
        #expect(lines[0].hasPrefix("drwxr-xr-x 1 0 0 0 "))
        #expect(lines[3].hasPrefix("-rwxr-xr-x 1 0 0 10 "))
        #expect(lines[7].hasPrefix("lrwxrwxrwx 1 0 0 7 ") && lines[7].hasSuffix("bin/sh -> busybox"))
        #expect(lines[9].hasPrefix("crw------- 1 0 0 5, 1 "))
    }

    @Test func contentsComeBackUnchanged() throws {
        let directory = try TemporaryDirectory()
        try directory.write(sample(), to: "archive")
        _ = try ChildProcess.output(
            "sh", ["-c", "cd \(directory.path) && cpio -id --quiet odd empty usr/bin/tool < archive"])
        #expect(try Files.read(directory.path + "/odd") == [1, 2, 3])
        #expect(try Files.read(directory.path + "/empty") == [])
        #expect(Files.text(directory.path + "/usr/bin/tool") == "#!/bin/sh\n")
    }

    @Test func theSameInputGivesTheSameBytes() { #expect(sample() == sample()) }
}
