// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraMachine

@Suite struct GuestRootTests {
    /// What the shell makes of the script, but for its first line, which is for the guest.
    private func run(_ root: GuestRoot) throws -> String {
        let directory = try TemporaryDirectory()
        let script = try root.script()
        let rest = script[(try #require(script.firstIndex(of: UInt8(ascii: "\n"))) + 1)...]
        try directory.write(Array(rest), to: "script")
        return try ChildProcess.output("busybox", ["sh", directory.path + "/script"])
    }

    private func root(_ words: [[UInt8]]) -> GuestRoot {
        var root = GuestRoot(command: words)
        root.directory = "/"
        return root
    }

    private func root(_ words: String...) -> GuestRoot { root(words.map { Array($0.utf8) }) }

    @Test func wordsReachTheCommandAsTheyAre() throws {
        let words = [
            "", " ", "a b", "'", "''", "\"$HOME\"", "`id`", "\\n", "-n", "*", "~", "a\nb", "'\u{301}",
        ]
        let root = self.root([Array("printf".utf8), Array("[%s]".utf8)] + words.map { Array($0.utf8) })
        #expect(try run(root) == words.map { "[\($0)]" }.joined())
    }

    @Test func everyByteButZeroReachesTheCommand() throws {
        let all = (UInt8(1)...255).map { $0 }
        let root = self.root([Array("printf".utf8), Array("%s".utf8), all])
        let directory = try TemporaryDirectory()
        var script = try root.script()
        script.removeFirst(try #require(script.firstIndex(of: UInt8(ascii: "\n"))) + 1)
        try directory.write(script, to: "script")
        _ = try ChildProcess.output(
            "sh", ["-c", "busybox sh \(directory.path)/script > \(directory.path)/out"])
        #expect(try Files.read(directory.path + "/out") == all)
    }

    @Test func environmentAndDirectoryAreSet() throws {
        var root = self.root("sh", "-c", "echo $A-$B_1 $PWD")
        root.environment = ["A=it's $HOME", "B_1=x=y"]
        root.directory = "/proc"
        #expect(try run(root) == "it's $HOME-x=y /proc\n")
    }

    @Test(arguments: ["A", "=x", "1A=x", "A-B=x", "A B=x", "é=x", ""])
    func badVariablesAreRefused(_ text: String) {
        var root = self.root("true")
        root.environment = [text]
        #expect(throws: GuestRoot.Problem.badVariable(text)) { try root.check() }
    }

    @Test(arguments: ["file", "file:path", ":/path", "file:", ""])
    func badAdditionsAreRefused(_ text: String) {
        var root = self.root("true")
        root.additions = [text]
        #expect(throws: GuestRoot.Problem.badAddition(text)) { try root.check() }
    }

    @Test func zeroBytesAreRefused() {
        #expect(throws: GuestRoot.Problem.zeroByte) { try root([[65, 0]]).check() }
    }

    @Test func theRootHasWhatItsInitNeeds() throws {
        let tree = try TemporaryDirectory()
        for path in [
            "machine/init", "guest-root/init", "guest-root/sbin/session", "guest-root/sbin/end",
            "guest-root/sbin/poweroff",
        ] {
            try tree.write("#!/bin/sh\n", to: path)
        }
        try tree.write("data", to: "my:file")
        var root = self.root("true")
        root.additions = ["\(tree.path)/my:file:/opt/file"]
        root.hasTerminal = true
        let archive = try root.build(
            Installation(program: tree.path + "/build/penumbra", workingDirectory: nil))
        try tree.write(archive, to: "archive")
        let names = try ChildProcess.output("sh", ["-c", "cpio -t --quiet < \(tree.path)/archive"])
        let list = Set(names.split(separator: "\n"))
        for name in [
            "init", "bin/busybox", "sbin/session", "sbin/poweroff", "dev/console", "proc", "penumbra/command",
            "penumbra/terminal", "opt/file",
        ] as [Substring] {
            #expect(list.contains(name))
        }
    }
}
