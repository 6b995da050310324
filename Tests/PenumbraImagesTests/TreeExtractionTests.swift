// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraImages

/// A place to copy to, and one beside it that nothing may reach.
private final class CopyBench {
    let directory: TemporaryDirectory
    var inside: String { directory.file("inside") }
    var outside: String { directory.file("outside") }

    init() throws {
        directory = try TemporaryDirectory()
        try Files.makeDirectories(inside)
        try Files.makeDirectories(outside)
        try Files.write(Array("untouched".utf8), to: "\(outside)/victim", mode: 0o640)
    }

    /// Everything outside, by name, mode, owner, links, time and content.
    func outsideState() throws -> String {
        try shell(
            "cd '\(outside)' && find . -printf '%p %m %U %n %T@ %l\\n' | sort && cat victim && ls -A .. ../inside/.."
        )
    }

    @discardableResult func shell(_ script: String) throws -> String {
        try ChildProcess.output("sh", ["-c", script])
    }

    func stream(_ bytes: [UInt8]) throws -> Descriptor {
        let path = directory.file("stream-\(UInt32.random(in: .min ... .max))")
        try Files.write(bytes, to: path)
        defer { Files.remove(path) }
        return try Descriptor(path: path, flags: O_RDONLY)
    }

    func extract(
        _ members: [Member], top: String = "d", as name: String? = nil,
        attributes: TreeExtraction.Attributes = .ours, limits: TreeExtraction.Limits = .init()
    ) throws {
        try extract(Archive.of(members), top: top, as: name, attributes: attributes, limits: limits)
    }

    func extract(
        _ archive: [UInt8], top: String, as name: String? = nil,
        attributes: TreeExtraction.Attributes = .ours, limits: TreeExtraction.Limits = .init()
    ) throws {
        let extraction = try TreeExtraction(
            from: try stream(archive), top: Array(top.utf8), attributes: attributes, limits: limits)
        let path = Array((name.map { "\(inside)/\($0)" } ?? inside).utf8)
        try extraction.write(
            to: CopyTarget(
                path, existing: name == nil ? .directory : .nothing,
                sourceIsDirectory: extraction.isDirectory))
    }
}

/// What a guest may send in place of what was asked of it.
struct Attack: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// Run in the place that is copied to.
    var before = "true"
    var top = "d"
    /// With the path of the place beside.
    let members: @Sendable (_ outside: String) -> [Member]

    static let all = [
        Attack(testDescription: "a file beside the one asked for") { _ in [.directory("d"), .file("e")] },
        Attack(testDescription: "another file in place of it") { _ in [.file("e")] },
        Attack(testDescription: "a second file", top: "f") { _ in [.file("f"), .file("f")] },
        Attack(testDescription: "a file below a file", top: "f") { _ in [.file("f"), .file("f/../victim")] },
        Attack(testDescription: "..") { _ in [.directory("d"), .file("d/../../outside/victim", "x")] },
        Attack(testDescription: ".. of a directory's content", top: ".") { _ in
            [.directory("./"), .file("../outside/victim", "x")]
        },
        Attack(testDescription: ".. for the directory itself", top: ".") { _ in
            [.directory("../outside", permissions: 0o777)]
        },
        Attack(testDescription: "an absolute name") { outside in
            [.directory("d"), .file("\(outside)/victim", "x")]
        },
        Attack(testDescription: "a file through a link") { _ in
            [.directory("d"), .link("d/l", to: "../../outside"), .file("d/l/victim", "x")]
        },
        Attack(testDescription: "a file through an absolute link") { outside in
            [.directory("d"), .link("d/l", to: outside), .file("d/l/victim", "x")]
        },
        Attack(testDescription: "a directory through a link") { _ in
            [.directory("d"), .link("d/l", to: "../../outside"), .directory("d/l/new")]
        },
        Attack(testDescription: "a link in the place of a directory") { _ in
            [
                .directory("d"), .directory("d/s"), .link("d/s", to: "../../outside"),
                .file("d/s/victim", "x"),
            ]
        },
        Attack(testDescription: "a directory where a link is") { _ in
            [.directory("d"), .link("d/l", to: "../../outside"), .directory("d/l", permissions: 0o777)]
        },
        Attack(testDescription: "a link for the tree itself") { _ in
            [.link("d", to: "../outside"), .file("d/victim", "x")]
        },
        Attack(testDescription: "a link that was there", before: "mkdir d; ln -s ../../outside d/l") { _ in
            [.directory("d"), .file("d/l/victim", "x")]
        },
        Attack(testDescription: "a link that was there for the tree", before: "ln -s ../outside d") { _ in
            [.directory("d"), .file("d/victim", "x")]
        },
        Attack(testDescription: "a hard link upwards") { _ in
            [.directory("d"), .hardLink("d/h", to: "../outside/victim")]
        },
        Attack(testDescription: "an absolute hard link") { outside in
            [.directory("d"), .hardLink("d/h", to: "\(outside)/victim")]
        },
        Attack(testDescription: "a hard link through a link") { _ in
            [.directory("d"), .link("d/l", to: "../../outside"), .hardLink("d/h", to: "d/l/victim")]
        },
        Attack(
            testDescription: "a hard link to a file that was there",
            before: "mkdir d; ln ../outside/victim d/secret"
        ) { _ in [.directory("d"), .hardLink("d/h", to: "d/secret")] },
        Attack(testDescription: "a hard link to what a link took the place of") { _ in
            [
                .directory("d"), .file("d/f"), .link("d/f", to: "../../outside/victim"),
                .hardLink("d/h", to: "d/f"),
            ]
        },
        Attack(testDescription: "a device") { _ in
            [
                .directory("d"),
                Member([UInt8]("d/n".utf8), .characterDevice(.init(major: 1, minor: 3)), .init()),
            ]
        },
        Attack(testDescription: "a pipe") { _ in
            [.directory("d"), Member([UInt8]("d/n".utf8), .fifo, .init())]
        },
        Attack(testDescription: "a file over a directory", before: "mkdir -p d/f") { _ in
            [.directory("d"), .file("d/f")]
        },
        Attack(testDescription: "a file over a pipe", before: "mkdir d; mkfifo d/f") { _ in
            [.directory("d"), .file("d/f")]
        },
        Attack(testDescription: "a zero byte in a name") { _ in
            // Long enough for a record, which may hold it.
            [
                .directory("d"),
                .file("d/" + String(repeating: "x", count: 100) + "\0/../../../outside/victim"),
            ]
        },
        Attack(testDescription: "a name longer than a path may be") { _ in
            [.directory("d"), .file("d/" + String(repeating: "x/", count: 2100))]
        },
    ]
}

@Suite struct TreeExtractionTests {
    @Test(arguments: Attack.all) func nothingIsWrittenOutside(_ attack: Attack) throws {
        let bench = try CopyBench()
        try bench.shell("cd '\(bench.inside)' && { \(attack.before); }")
        let before = try bench.outsideState()
        #expect(throws: CopyError.self) {
            try bench.extract(attack.members(bench.outside), top: attack.top)
        }
        #expect(try bench.outsideState() == before)
        #expect(try bench.shell("find '\(bench.inside)' -name '.penumbra-cp*' -o -name h").isEmpty)
    }

    @Test func aLinkThatWasThereGivesWay() throws {
        let bench = try CopyBench()
        try bench.shell("cd '\(bench.inside)' && ln -s ../outside/victim f")
        let before = try bench.outsideState()
        try bench.extract([.file("f", "new")], top: "f")
        #expect(try bench.outsideState() == before)
        #expect(Files.text("\(bench.inside)/f") == "new")
        try bench.extract([.link("f", to: "nowhere")], top: "f")
        #expect(try bench.shell("readlink '\(bench.inside)/f'") == "nowhere\n")
    }

    @Test func otherNamesOfAFileKeepItsContent() throws {
        let bench = try CopyBench()
        try bench.shell("ln '\(bench.outside)/victim' '\(bench.inside)/f'")
        try bench.extract([.file("f", "new")], top: "f")
        #expect(Files.text("\(bench.outside)/victim") == "untouched")
    }

    @Test func whatIsCutOffLeavesTheFileThatWasThere() throws {
        let bench = try CopyBench()
        try Files.write(Array("old".utf8), to: "\(bench.inside)/f")
        let archive = try Archive.of([.file("f", String(repeating: "new", count: 1000))])
        for length in [0, 100, 512, 1000] {
            #expect(throws: CopyError.cutOff) {
                try bench.extract(Array(archive.prefix(length)), top: "f")
            }
            #expect(try bench.shell("cd '\(bench.inside)' && ls -A && cat f") == "f\nold")
        }
        #expect(throws: CopyError.self) { try bench.extract([UInt8](repeating: 1, count: 2048), top: "f") }
    }

    @Test func entriesAndBytesAreBounded() throws {
        let bench = try CopyBench()
        var limits = TreeExtraction.Limits()
        limits.entries = 2
        #expect(throws: CopyError.tooLarge(what: "the number of files", limit: "2")) {
            try bench.extract([.directory("d"), .file("d/a"), .file("d/b")], limits: limits)
        }
        limits = TreeExtraction.Limits()
        limits.content = 1000
        #expect(throws: CopyError.tooLarge(what: "the size of all files", limit: "1kB")) {
            try bench.extract(
                [.directory("d"), .file("d/a", String(repeating: "x", count: 999)), .file("d/b", "yy")],
                limits: limits)
        }
    }

    @Test func setIDBitsAreKeptForRootAloneWhoAsks() throws {
        let bench = try CopyBench()
        let members: [Member] = [
            .directory("d", permissions: 0o2775), .file("d/f", permissions: 0o4755, owner: 1234),
        ]
        try bench.extract(members)
        let state = "stat -c '%a' '\(bench.inside)/d'; stat -c '%a %u' '\(bench.inside)/d/f'"
        #expect(try bench.shell(state) == "775\n755 \(geteuid())\n")
        guard geteuid() == 0 else { return }
        try bench.extract(members, as: "kept", attributes: .owners)
        #expect(try bench.shell(state.replacing("/d", with: "/kept")) == "2775\n4755 1234\n")
    }

    @Test func directoriesThatAreThereKeepTheirModes() throws {
        let bench = try CopyBench()
        try bench.shell("chmod 700 '\(bench.inside)'; mkdir -m 700 '\(bench.inside)/s'")
        try bench.extract(
            [.directory("./", permissions: 0o777), .directory("./s", permissions: 0o777)], top: ".")
        #expect(try bench.shell("stat -c %a '\(bench.inside)' '\(bench.inside)/s'") == "700\n700\n")
    }

    @Test func aDirectoryThatMayNotBeWrittenIsFilled() throws {
        let bench = try CopyBench()
        try bench.extract([
            .directory("d", permissions: 0o500), .file("d/f", "x"),
            .hardLink("d/h", to: "d/f"), .hardLink("d/h", to: "d/f"),
        ])
        let found = try bench.shell("cd '\(bench.inside)' && stat -c '%a %Y' d && stat -c %h d/h && ls -A d")
        #expect(found == "500 1000\n2\nf\nh\n")
    }
}

/// From a tree to a stream to a tree.
@Suite struct TreePackingTests {
    private static let list = """
        find . -printf '%P %y %m %n %s %l %T@\\n' | sed 's/\\.0*$//' | LC_ALL=C sort; \
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
        """

    private func roundTrip(_ make: String, from: String = "d", to: String? = nil) throws {
        let bench = try CopyBench()
        let source = bench.directory.file("source")
        try Files.makeDirectories("\(source)/d")
        try bench.shell("cd '\(source)/d' && \(make)")
        let path = bench.directory.file("archive")
        var packing = TreePacking(
            to: try Descriptor(path: path, flags: O_WRONLY | O_CREAT, mode: 0o600), attributes: .ours)
        let parent = try Directory(path: Array((from == "." ? "\(source)/d" : source).utf8))
        try packing.write(Array(from.utf8), in: parent, as: Array(from.utf8))
        try bench.extract(try Files.read(path), top: from, as: to)
        let result = to ?? (from == "." ? "." : "d")
        let before = try bench.shell("cd '\(source)/d' && \(Self.list)")
        let after = try bench.shell("cd '\(bench.inside)/\(result)' && \(Self.list)")
        // Directories that were there keep their times.
        #expect(from == "." && to == nil ? after.contains("one f 644") : after == before)
    }

    @Test func allKindsOfFiles() throws {
        let long = String(repeating: "n", count: 255)
        try roundTrip(
            """
            mkdir -m 700 empty \(long); echo x >\(long)/\(long); : >none; chmod 400 none; ln none again
            ln -s ../nowhere soft; ln -s \(long)/\(long) long; echo x >"$(printf 'not\\377utf8\\nname')"
            truncate -s 10M sparse; echo end >>sparse; head -c 300000 /dev/urandom >big
            touch -d 2001-02-03T04:05:06Z big; touch -hd 2001-02-03T04:05:06Z soft
            touch -d @4294967295 empty; touch -d 2001-02-03T04:05:06Z \(long)/\(long) \(long) none; touch -hd 2001-02-03T04:05:06Z long
            touch -d 2001-02-03T04:05:06Z sparse not* .
            """)
    }

    @Test func holesStayHoles() throws {
        let bench = try CopyBench()
        try bench.extract([.file("f", String(repeating: "\0", count: 1 << 20))], top: "f")
        #expect(try bench.shell("stat -c '%s %b' '\(bench.inside)/f'") == "1048576 0\n")
    }

    @Test func anEmptyDirectoryAndAnotherName() throws {
        try roundTrip("touch -d @1000 .")
        try roundTrip("touch -d @1000 .", to: "other")
        try roundTrip("echo 1 >one; chmod 644 one; touch -d @1000 one .", from: ".")
        try roundTrip("echo 1 >one; touch -d @1000 one .", from: ".", to: "other")
    }

    @Test func tenThousandFiles() throws {
        try roundTrip(
            "for i in $(seq 100); do mkdir $i; (cd $i; seq 100 | xargs touch -d @1000; touch -d @1000 .); done; touch -d @1000 ."
        )
    }

    @Test func socketsAreLeftOutAndOthersAreNot() throws {
        let bench = try CopyBench()
        _ = try LocalSocket.listen(at: "\(bench.outside)/socket")
        try bench.shell("mkfifo '\(bench.outside)/pipe'")
        let path = bench.directory.file("archive")
        let output = try Descriptor(path: path, flags: O_WRONLY | O_CREAT, mode: 0o600)
        var packing = TreePacking(to: output, attributes: .ours)
        let parent = try Directory(path: Array(bench.directory.path.utf8))
        try packing.write(Array("outside".utf8), in: parent, as: Array("outside".utf8))
        #expect(
            try ChildProcess.output("tar", ["--numeric-owner", "-tvf", path]).split(separator: "\n").map {
                $0.split(separator: " ").filter { $0.contains("/") }.joined(separator: " ")
            } == ["0/0 outside/", "0/0 outside/pipe", "0/0 outside/victim"])
        #expect(throws: CopyError.self) {
            try packing.write(
                Array("socket".utf8), in: try Directory(path: Array(bench.outside.utf8)), as: [120])
        }
    }

    @Test func deviceNumbersAreTheDevices() throws {
        let bench = try CopyBench()
        let path = bench.directory.file("archive")
        var packing = TreePacking(
            to: try Descriptor(path: path, flags: O_WRONLY | O_CREAT, mode: 0o600), attributes: .ours)
        try packing.write(Array("null".utf8), in: try Directory(path: Array("/dev".utf8)), as: [110])
        #expect(
            try Archive.members(try Files.read(path)).map(\.entry.kind)
                == [.characterDevice(DeviceNumber(major: 1, minor: 3))])
    }
}
