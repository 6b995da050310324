// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraImages

/// What layers over each other come to, as unsquashfs sees the file system that is made of them.
@Suite struct LayerMergeTests {
    @Test func aLaterMemberWins() throws {
        let image = try MergedImage([
            [
                .directory("d", permissions: 0o700), .file("d/a", "old"), .file("d/b", "kept"),
                .file("x", "file"),
            ],
            [
                .directory("d", permissions: 0o711), .file("d/a", "first"), .file("d/a", "new"),
                .directory("x"), .file("x/y", "y"),
            ],
        ])
        #expect(image.paths == ["/d", "/d/a", "/d/b", "/x", "/x/y"])
        #expect(try image.content("d/a") == "new")
        #expect(try image.content("d/b") == "kept")
        #expect(image["/d"]?.hasPrefix("drwx--x--x") == true)
    }

    @Test func aFileTakesADirectorysPlace() throws {
        let image = try MergedImage([[.directory("d"), .file("d/a", "a")], [.file("d", "d")]])
        #expect(image.paths == ["/d"])
    }

    @Test func whiteoutsHideWhatIsBelow() throws {
        let image = try MergedImage([
            [.file("a", "a"), .file("d/b", "b"), .file("d/c", "c"), .file("e/f/g", "g")],
            [.file(".wh.a"), .file("d/.wh.b"), .file(".wh.e"), .file(".wh.missing"), .file("missing/.wh.x")],
        ])
        #expect(image.paths == ["/d", "/d/c"])
    }

    /// Wherever in its layer a whiteout stands.
    @Test(arguments: [true, false]) func whiteoutsLeaveTheirOwnLayerAlone(_ isFirst: Bool) throws {
        func layer(_ whiteouts: [Member], _ others: [Member]) -> [Member] {
            isFirst ? whiteouts + others : others + whiteouts
        }
        let image = try MergedImage([
            [.file("a", "old"), .file("d/old", "old"), .file("o/old", "old"), .file("o/sub/old", "old")],
            layer(
                [.file(".wh.a"), .file(".wh.d"), .file("o/.wh..wh..opq")],
                [
                    .file("a", "new"), .file("d/new", "new"), .directory("o"), .directory("o/sub"),
                    .file("o/new", "new"),
                ]),
        ])
        #expect(image.paths == ["/a", "/d", "/d/new", "/o", "/o/new", "/o/sub"])
        #expect(try image.content("a") == "new")
    }

    @Test func whatWasHiddenMayComeBack() throws {
        let image = try MergedImage([[.file("a/b", "1")], [.file(".wh.a")], [.file("a/c", "3")]])
        #expect(image.paths == ["/a", "/a/c"])
    }

    @Test(arguments: [".wh.", ".wh..", ".wh...", "d/.wh.", ".wh.x/y"])
    func whiteoutsOfNothingAreRefused(_ name: String) {
        #expect(throws: ImageError.self) { try MergedImage([[.directory("d"), .file(name)]]) }
    }

    @Test func aufssOwnFilesAreLeftOut() throws {
        let image = try MergedImage([
            [.file(".wh..wh.aufs"), .directory(".wh..wh.plnk"), .file(".wh..wh.plnk/1.2", "x"), .file("a")]
        ])
        #expect(image.paths == ["/a"])
    }

    @Test func hardLinksShareTheirFileAcrossLayers() throws {
        let image = try MergedImage([
            [.file("a", "one"), .hardLink("b", to: "a"), .file("c", "two")],
            [.hardLink("d/e", to: "b"), .file(".wh.a"), .file("c", "three"), .hardLink("/f", to: "/c")],
        ])
        #expect(image.paths == ["/b", "/c", "/d", "/d/e", "/f"])
        #expect(try image.content("b") == "one")
        #expect(try image.content("d/e") == "one")
        #expect(try image.content("f") == "three")
    }

    @Test func aNameThatIsReplacedLeavesTheOthers() throws {
        let image = try MergedImage([
            [.file("a", "old"), .hardLink("b", to: "a"), .link("l", to: "a"), .hardLink("m", to: "l")],
            [.file("a", "new")],
        ])
        #expect(try image.content("a") == "new")
        #expect(try image.content("b") == "old")
        #expect(image["/m"]?.hasSuffix("-> a") == true)
    }

    /// As for a process whose root the image is.
    @Test func symbolicLinksOnTheWayAreFollowed() throws {
        let image = try MergedImage([
            [
                .directory("usr/lib"), .link("lib", to: "usr/lib"), .link("abs", to: "/usr"),
                .link("up", to: "../../../usr"), .link("self", to: "."),
            ],
            [
                .file("lib/a", "a"), .file("abs/b", "b"), .file("up/c", "c"), .file("self/self/d", "d"),
                .file("lib/.wh.none"),
            ],
        ])
        #expect(
            image.paths == [
                "/abs", "/d", "/lib", "/self", "/up", "/usr", "/usr/b", "/usr/c", "/usr/lib", "/usr/lib/a",
            ])
        #expect(image["/lib"]?.hasSuffix("-> usr/lib") == true)
    }

    @Test func aDirectoryReplacesASymbolicLink() throws {
        let image = try MergedImage([
            [.directory("t"), .link("l", to: "t")], [.directory("l"), .file("l/a", "a")],
        ])
        #expect(image.paths == ["/l", "/l/a", "/t"])
    }

    /// A link that would lead out leads to a place within the image.
    @Test func aLinkOutwardsStaysInside() throws {
        let image = try MergedImage([
            [.link("etc", to: "../../../../etc"), .link("out", to: "/tmp/outside")], [.file("out/x", "x")],
        ])
        #expect(image.paths == ["/etc", "/out", "/tmp", "/tmp/outside", "/tmp/outside/x"])
        #expect(throws: ImageError.self) {
            try MergedImage([[.link("etc", to: "../etc")], [.file("etc/passwd", "x")]])
        }
    }

    @Test(arguments: [
        [Member.file("../a")], [.file("d/../../a")], [.file("d/..")], [.hardLink("a", to: "../b")],
        [.hardLink("a", to: "missing")], [.directory("d"), .hardLink("a", to: "d")],
        [.file("f"), .file("f/a")], [.link("l", to: "l"), .file("l/a")],
        [.link("l", to: "m"), .link("m", to: "l"), .file("m/a")], [.file(".")], [.link(".", to: "x")],
        [.file(String(repeating: "n", count: 256))], [.file(String(repeating: "d/", count: 2100) + "a")],
        [.file("a\u{0}" + String(repeating: "b", count: 100))], [.link("l", to: "")],
        [.link("l", to: String(repeating: "x", count: 5000))],
    ])
    func hostilePathsAreRefused(_ members: [Member]) {
        #expect(throws: ImageError.self) { try MergedImage([members]) }
    }

    /// A chain of links, each into the directory that the one before led to.
    @Test func depthIsBounded() {
        var members: [Member] = []
        let part = String(repeating: "d/", count: 1000)
        for index in 0..<5 {
            let start = index == 0 ? "" : "l\(index - 1)/"
            members.append(.directory(start + part))
            members.append(.link("l\(index)", to: start + part))
        }
        #expect { try MergedImage([members]) } throws: { "\($0)".contains("deeper") }
    }

    @Test func absoluteNamesMeanTheImagesRoot() throws {
        let image = try MergedImage([
            [.file("/etc/a", "a"), .file("./etc/b", "b"), .directory("./", permissions: 0o711)]
        ])
        #expect(image.paths == ["/etc", "/etc/a", "/etc/b"])
        #expect(image["/"]?.hasPrefix("drwx--x--x") == true)
    }

    @Test func modesOwnersAndDevicesStay() throws {
        let image = try MergedImage([
            [
                .file("setuid", "x", permissions: 0o4755),
                .file("setgid", "x", permissions: 0o2750, owner: 4_000_000_000),
                .directory("tmp", permissions: 0o1777),
                Member(
                    Array("null".utf8), .characterDevice(DeviceNumber(major: 1, minor: 3)),
                    FileMetadata(permissions: 0o666)),
                Member(
                    Array("disk".utf8), .blockDevice(DeviceNumber(major: 8, minor: 255)),
                    FileMetadata(permissions: 0o600)),
                Member(Array("pipe".utf8), .fifo, FileMetadata(permissions: 0o644)),
            ]
        ])
        #expect(image["/setuid"] == "-rwsr-xr-x 0/0 1")
        #expect(image["/setgid"] == "-rwxr-s--- 4000000000/4000000000 1")
        #expect(image["/tmp"]?.hasPrefix("drwxrwxrwt") == true)
        #expect(image["/null"] == "crw-rw-rw- 0/0 1,3")
        #expect(image["/disk"] == "brw------- 0/0 8,255")
        #expect(image["/pipe"]?.hasPrefix("prw-r--r--") == true)
    }

    @Test func attributesThatCannotBeHeldAreTold() throws {
        var lines: [String] = []
        let directory = try TemporaryDirectory()
        let bytes = try Archive.of([
            .file(
                "a",
                attributes: [
                    ("user.a", "1"), ("system.posix_acl_access", "2"), ("trusted.overlay.opaque", "y"),
                ])
        ])
        try Files.write(bytes, to: directory.file("layer"))
        var merge = LayerMerge([.init(path: directory.file("layer"), digest: Digest.of(bytes))]) {
            lines.append($0)
        }
        let output = try Descriptor(path: directory.file("out"), flags: O_RDWR | O_CREAT, mode: 0o600)
        try merge.write(to: try SquashFSWriter(to: output, path: "out"))
        #expect(lines.contains { $0.contains("system.posix_acl_access, trusted.overlay.opaque") })
    }

    /// An archive whose first header, as pax has it for all members, gives each of them an attribute.
    private func archive(ofMembers count: Int, attribute size: Int) throws -> [UInt8] {
        let value = String(repeating: "x", count: size)
        var first = try Archive.of([.file("first", attributes: [("user.x", value)])])
        try #require(first[156] == UInt8(ascii: "x"))
        first[156] = UInt8(ascii: "g")
        let sum = first[..<512].reduce(0) { $0 + Int($1) } - first[148..<156].reduce(0) { $0 + Int($1) }
        let digits = Array(String(sum + 8 * 0x20, radix: 8).utf8)
        first.replaceSubrange(148..<156, with: [0x30] + digits + [0, 0x20])
        // Without the end, two blocks of zeros.
        return try first.dropLast(1024) + Archive.of((1..<count).map { .file("f\($0)") })
    }

    /// 4 MiB, and a thousandth of that packed, would be gigabytes of attributes in memory and on disk.
    @Test func whatFilesAreCalledAndHaveForAttributesIsBounded() throws {
        let directory = try TemporaryDirectory()
        func merge(_ bytes: [UInt8]) throws {
            try Files.write(bytes, to: directory.file("layer"))
            var merge = LayerMerge([.init(path: directory.file("layer"), digest: Digest.of(bytes))])
            let output = try Descriptor(path: directory.file("out"), flags: O_RDWR | O_CREAT, mode: 0o600)
            try merge.write(to: try SquashFSWriter(to: output, path: "out"))
        }
        try merge(archive(ofMembers: 100, attribute: 60_000))
        #expect(
            throws: ImageError.tooLarge(
                what: "what the image's files are called and have for attributes", limit: "512 MiB")
        ) { try merge(archive(ofMembers: 9000, attribute: 60_000)) }
    }

    @Test func anotherDigestIsNoticed() throws {
        let directory = try TemporaryDirectory()
        try Files.write(try Archive.of([.file("a")]), to: directory.file("layer"))
        #expect(throws: ImageError.self) {
            try MergedImage.merge(
                [.init(path: directory.file("layer"), digest: Digest.of([]))], to: directory.file("out"))
        }
    }
}
