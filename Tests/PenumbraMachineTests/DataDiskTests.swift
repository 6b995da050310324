// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraMachine

@Suite struct DataDiskTests {
    @Test(arguments: [("64M", UInt64(64) << 20), ("20G", 20 << 30), ("8T", 8 << 40)])
    func sizesAreReadAndWritten(_ text: String, _ bytes: UInt64) throws {
        let size = try DiskSize(text)
        #expect(size.bytes == bytes && size.description == text)
    }

    @Test(arguments: ["", "G", "20", "63M", "9T", "-1G", "1K", "99999999999999999999G"])
    func othersAreNone(_ text: String) {
        #expect(throws: MachineError.self) { try DiskSize(text) }
    }

    @Test func aDiskIsMadeOnceAndKept() throws {
        let directory = try TemporaryDirectory()
        let disk = DataDisk(path: directory.path + "/data.img")
        try disk.prepare(size: DiskSize("64M"), machine: "m")
        // ext4's magic number, in the superblock at 1024.
        #expect(try Files.read(disk.path)[1024 + 56..<1024 + 58] == [0x53, 0xef])
        #expect(!Files.exists(disk.path + ".new"))
        try disk.prepare(size: DiskSize("64M"), machine: "m")
        let error = try #require(throws: MachineError.self) {
            try disk.prepare(size: DiskSize("128M"), machine: "m")
        }
        #expect("\(error)".contains("--disk 64M"))
    }

    @Test func aDiskThatIsNoFileSystemIsRefused() throws {
        let directory = try TemporaryDirectory()
        try directory.write(String(repeating: "x", count: 64 << 20), to: "data.img")
        let error = try #require(throws: MachineError.self) {
            try DataDisk(path: directory.path + "/data.img").prepare(size: DiskSize("64M"), machine: "m")
        }
        #expect("\(error)".contains("e2fsck -f"))
    }

    @Test func librariesAreThePathsThatLddNames() {
        let listed = """
            \tlinux-vdso.so.1 (0x00007f58ae1c8000)
            \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f58ae0d1000)
            \tlibgone.so => not found
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f58ae1ca000)
            """
        #expect(
            Initramfs.libraries(listed: listed) == [
                "/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2",
            ])
    }
}
