// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraImages

@Suite struct TarTests {
    private static let members: [Member] = [
        .directory("d/"), .file("d/a", "hello", permissions: 0o4755, owner: 0xffff_fffe, modified: .max),
        .file(
            "attributes",
            attributes: [("user.a", "v\nw=\u{0}"), ("user.empty", ""), ("zzz.z", "x")]),
        .link("l", to: String(repeating: "t", count: 4000)), .hardLink("h", to: "d/a"),
        Member(Array("null".utf8), .characterDevice(DeviceNumber(major: 1, minor: 3)), FileMetadata()),
        Member(Array("disk".utf8), .blockDevice(DeviceNumber(major: 4095, minor: 0xf_ffff)), FileMetadata()),
        Member(Array("pipe".utf8), .fifo, FileMetadata()),
        Member([0xff, 0xfe, 0x0a, 0x20], .file, [1], FileMetadata()),
        .file(String(repeating: "long/", count: 800) + "end", String(repeating: "x", count: 513)),
    ]

    @Test(arguments: [1, 7, 512, Int.max]) func whatWasWrittenIsRead(_ piece: Int) throws {
        let members = try Archive.members(try Archive.of(Self.members), piece: piece)
        #expect(members.map(\.entry) == Self.members.map(\.entry))
        #expect(members.map(\.content) == Self.members.map(\.content))
    }

    /// GNU tar reads what we write, and we read what it writes.
    @Test(arguments: ["gnu", "pax", "ustar", "v7"]) func otherProgramsUnderstand(_ format: String) throws {
        let directory = try TemporaryDirectory()
        try Files.makeDirectories(directory.file("in/d"))
        try Files.write(
            Array("content".utf8), to: directory.file("in/d/" + String(repeating: "f", count: 80)))
        let output = directory.file("out.tar")
        _ = try ChildProcess.output(
            "tar", ["--format=\(format)", "-C", directory.file("in"), "-cf", output, "d"])
        let members = try Archive.members(try Files.read(output))
        #expect(
            members.map { String(decoding: $0.entry.path, as: UTF8.self) } == [
                "d/", "d/" + String(repeating: "f", count: 80),
            ])
        #expect(members[0].entry.kind == .directory && members[1].content == Array("content".utf8))
        try Files.write(try Archive.of(Self.members), to: output)
        let names = try ChildProcess.output("tar", ["--quoting-style=literal", "-tf", output])
        #expect(names.split(separator: "\n").count == Self.members.count + 1)
    }

    @Test func gnusLongNamesAreUnderstood() throws {
        let directory = try TemporaryDirectory()
        let name = String(repeating: "n", count: 200)
        try Files.makeDirectories(directory.file("in"))
        try Files.write([], to: directory.file("in/\(name)"))
        let output = directory.file("out.tar")
        _ = try ChildProcess.output(
            "tar", ["--format=gnu", "-C", directory.file("in"), "--mtime=@-1", "-cf", output, name])
        let member = try #require(try Archive.members(try Files.read(output)).first)
        #expect(member.entry.path == Array(name.utf8))
        // A time before 1970 has no place in 32 bits.
        #expect(member.entry.metadata.modified == 0)
    }

    @Test func everyTruncationIsNoticed() throws {
        let bytes = try Archive.of([.file("a", "hello"), .file(String(repeating: "b", count: 200), "x")])
        // Between members, and behind the first block of zeros, an archive may end.
        let sound: Set<Int> = [0, 1024]
        for count in 0..<(bytes.count - 1024) where !sound.contains(count) {
            #expect(throws: ImageError.self, "\(count) bytes") {
                try Archive.members(Array(bytes.prefix(count)))
            }
        }
    }

    @Test func sparseFilesAreRefused() throws {
        let directory = try TemporaryDirectory()
        _ = try ChildProcess.output("truncate", ["-s", "1M", directory.file("hole")])
        for format in ["gnu", "pax"] {
            let output = directory.file("\(format).tar")
            _ = try ChildProcess.output(
                "tar", ["--sparse", "--format=\(format)", "-C", directory.path, "-cf", output, "hole"])
            #expect { try Archive.members(try Files.read(output)) } throws: { "\($0)".contains("sparse") }
        }
    }

    @Test(arguments: [
        "x", "5 a=b\n", "7 a=b\n", "6 a=b", "0 \n", "-6 a=b\n", "6 a:b\n", "99999999999999999999 a=b\n",
        "6  a=b\n",
    ])
    func damagedPaxRecordsAreRefused(_ text: String) {
        #expect(throws: ImageError.self) { try PaxRecords(Array(text.utf8)) }
    }

    @Test func paxRecordsAreBounded() throws {
        var records = PaxRecords()
        try records.set("a", [UInt8](repeating: 1, count: 1 << 19))
        #expect(throws: ImageError.self) { try records.set("b", [UInt8](repeating: 1, count: 1 << 19)) }
    }

    /// No damage makes the reader trap.
    @Test func randomDamageIsSurvived() throws {
        let sound = try Archive.of(Self.members)
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<300 {
            var bytes = sound
            for _ in 0..<20 {
                bytes[Int.random(in: bytes.indices, using: &generator)] = .random(
                    in: 0...255, using: &generator)
            }
            // The check sum would hide the fields behind it.
            for start in stride(from: 0, to: bytes.count, by: 512) {
                Self.correctChecksum(&bytes, start)
            }
            _ = try? Archive.members(bytes)
        }
    }

    private static func correctChecksum(_ bytes: inout [UInt8], _ start: Int) {
        for index in 148..<156 { bytes[start + index] = 0x20 }
        let sum = bytes[start..<(start + 512)].reduce(0) { $0 + UInt64($1) }
        for (index, digit) in String(sum, radix: 8).utf8.enumerated() { bytes[start + 148 + index] = digit }
    }
}
