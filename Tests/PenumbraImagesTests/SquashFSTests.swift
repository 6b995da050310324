// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraImages

@Suite struct SquashFSTests {
    /// A directory of so many entries has runs, an index and blocks of inodes.
    @Test func largeDirectoriesAreComplete() throws {
        let count = 20_000
        let members = (0..<count).map {
            Member.file("d/\($0)-" + String(repeating: "n", count: $0 % 40), "\($0)")
        }
        let image = try MergedImage([members])
        #expect(image.paths.count == count + 1)
        for index in stride(from: 0, to: count, by: 4999) {
            #expect(
                try image.content("d/\(index)-" + String(repeating: "n", count: index % 40)) == "\(index)")
        }
    }

    @Test func contentOfAnySizeIsKept() throws {
        let block = SquashFSFormat.blockSize
        var generator = SystemRandomNumberGenerator()
        let sizes = [0, 1, block - 1, block, block + 1, 3 * block, 3 * block + 77]
        let contents = sizes.flatMap { size in
            [
                String(repeating: "a", count: size),
                String(
                    decoding: (0..<size).map { _ in UInt8.random(in: 33...126, using: &generator) },
                    as: UTF8.self),
                String(repeating: "\u{0}", count: size),
            ]
        }
        let image = try MergedImage([contents.enumerated().map { .file("f\($0.offset)", $0.element) }])
        for (index, content) in contents.enumerated() { #expect(try image.content("f\(index)") == content) }
    }

    @Test func theSameLayersGiveTheSameBytes() throws {
        let layer: [Member] = (0..<100).map {
            .file("d\($0 % 7)/f\($0)", "\($0)", attributes: [("user.a", "\($0 % 3)")])
        }
        let (one, two) = (try MergedImage([layer]), try MergedImage([layer]))
        #expect(try Files.read(one.path) == Files.read(two.path))
    }

    @Test func aFileWithoutRoomFails() throws {
        let full = try Descriptor(path: "/dev/full", flags: O_RDWR)
        #expect(throws: ImageError.noRoom(path: "full")) { try SquashFSWriter(to: full, path: "full") }
    }

    /// Linux, and what tar makes of the same archives, with each file's attributes.
    @Test(.enabled(if: canMount)) func linuxReadsWhatAnOverlayWouldShow() throws {
        let layers: [[Member]] = [
            [
                .directory("./", permissions: 0o711), .directory("d", permissions: 0o1777),
                .file("d/a", "a", permissions: 0o4711, owner: 12),
                .hardLink("d/b", to: "d/a"), .file("gone/x", "x"), .directory("opaque"),
                .file("opaque/old", "o"),
                .file(
                    "attributes", "x",
                    attributes: [
                        ("user.a", "v\u{0}w"),
                        (
                            "security.capability",
                            "\u{1}\u{0}\u{0}\u{2}\u{0}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}"
                        ), ("trusted.t", "t"),
                    ]),
                Member(
                    [0xff, 0xfe, 0x80], .file, Array("bytes".utf8),
                    FileMetadata(permissions: 0o600, modified: 5)),
                Member(
                    Array("zero".utf8), .characterDevice(DeviceNumber(major: 4095, minor: 0xf_ffff)),
                    FileMetadata(permissions: 0o666, modified: 77)),
                .file(
                    (0..<15).map { _ in String(repeating: "n", count: 250) }.joined(separator: "/"), "deep"),
                .link("l", to: "d/a"),
            ],
            [
                .file(".wh.gone"), .directory("opaque", permissions: 0o500), .file("opaque/.wh..wh..opq"),
                .file("opaque/new", "n"),
                .file("d/a", "changed", modified: 4_000_000_000), .hardLink("e", to: "d/b"),
            ],
        ]
        let image = try MergedImage(layers)
        let directory = try TemporaryDirectory()
        // The same by hand: tar for the first layer, and its own words for the second.
        let script = """
            set -e; cd \(directory.path); mkdir a squash; mount -t squashfs -o loop,ro \(image.path) squash
            trap 'umount squash' EXIT
            tar -C a --xattrs --xattrs-include='*' --numeric-owner -xpf 0.tar
            rm -rf a/gone a/opaque/old; chmod 500 a/opaque; printf n > a/opaque/new; ln a/d/b a/e
            rm a/d/a; printf changed > a/d/a; chmod 644 a/d/a
            touch -d @1000 a/opaque/new a/opaque a/d; touch -d @4000000000 a/d/a; touch -d @0 $(find a/nnn* -type d); touch -d @1000 a
            list() { (cd $1; find . ! -path . -printf '%P %y %m %U/%G %n %T@ %l\\n' -a \\( -type c -a -exec stat -c %t,%T {} + -o -true \\) | sort; getfattr -R -h -d -m - . ; \\
                find . -type f -exec sha256sum {} + | sort); }
            list a > one; list squash > two; diff -a one two; cat one
            """
        try Files.write(try Archive.of(layers[0]), to: directory.file("0.tar"))
        let output = try ChildProcess.output("sh", ["-c", script])
        #expect(output.contains("security.capability") && output.contains("trusted.t"))
    }

    /// Root, in a place where loop devices work.
    private static let canMount: Bool = {
        guard geteuid() == 0, let image = try? MergedImage([[.file("a")]]),
            let directory = try? TemporaryDirectory()
        else { return false }
        let script =
            "mount -t squashfs -o loop,ro \(image.path) \(directory.path) && umount \(directory.path)"
        return (try? ChildProcess.output("sh", ["-c", script])) != nil
    }()
}
