// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Testing

@testable import penumbra

@Suite struct CopyCommandTests {
    @Test func whatHasAColonIsAContainers() throws {
        #expect(CopyEnd("-") == .stream)
        #expect(CopyEnd("web:/etc") == .container("web", path: CopyPath(Array("/etc".utf8))))
        #expect(CopyEnd("web:etc/") == .container("web", path: CopyPath(Array("/etc/".utf8))))
        #expect(CopyEnd("web:a:b") == .container("web", path: CopyPath(Array("/a:b".utf8))))
        for text in ["./a:b", "/a:b", "../a:b", "a"] {
            #expect(CopyEnd(text) == .local(CopyPath(Array(text.utf8))))
        }
    }

    @Test(arguments: [
        ("/a/b", "/a/b", "b", "/a/b"), ("/a/b/", "/a/b/", "b", "/a/b/"), ("/a/b/.", "/a/b/.", ".", "/a/b/"),
        ("/a//./b", "/a/b", "b", "/a/b"), ("/a/../b", "/b", "b", "/b"), ("/../..", "/.", ".", "/"),
        ("a/../../b", "../b", "b", "../b"), (".", "./.", ".", "./"), ("a/..", "./.", ".", "./"),
        ("..", "../.", ".", "../"), ("a", "a", "a", "a"), ("/", "/.", ".", "/"),
    ])
    func pathsKeepWhatTheirEndMeans(_ text: String, _ path: String, _ top: String, _ destination: String) {
        let parsed = CopyPath(Array(text.utf8))
        #expect(String(decoding: parsed.bytes, as: UTF8.self) == path)
        #expect(String(decoding: parsed.top, as: UTF8.self) == top)
        #expect(String(decoding: parsed.destination, as: UTF8.self) == destination)
    }

    @Test func containersPathsBeginAtTheRoot() {
        #expect(CopyPath(Array("../x".utf8), absolute: true).bytes == Array("/x".utf8))
        #expect(CopyPath(Array("".utf8), absolute: true).bytes == Array("/.".utf8))
    }

    @Test func dashesAndOptionsAreTold() throws {
        let verb = try #require(try Penumbra.parseAsRoot(["cp", "-aLq", "-", "web:/srv"]) as? CopyCommand)
        #expect(verb.archive && verb.followLink && verb.quiet && verb.source == "-")
        #expect(verb.options == ["cp", "--archive", "--follow-link"])
    }

    @Test func whatAGuestComplainsOfIsFitForATerminal() {
        var lines = GuestLines()
        lines.append(Array("stat /\u{1b}[2J: no\nmore".utf8))
        #expect(lines.lines == ["stat /?[2J: no", "more"])
        lines.append([UInt8](repeating: 65, count: 10_000))
        #expect(lines.lines.joined().count < 5000)
    }
}
