// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import penumbra

@Suite struct ManualTests {
    @Test func everyVerbHasAPage() throws {
        let pages = try ManualPage.all()
        let names = pages.map(\.name)
        for name in ["penumbra", "penumbra-run", "penumbra-cp", "penumbra-image-pull", "penumbra-system-df"] {
            #expect(names.contains(name))
        }
        #expect(!names.contains { $0.contains("monitor") || $0.contains("generate") })
        let logs = try #require(pages.first { $0.name == "penumbra-logs" })
        #expect(
            logs.text.contains(
                ".B \"\\-n, \\-\\-tail <tail>\"\nThe last so many lines, or 'all'. (default: all)\n"))
        #expect(logs.text.contains("penumbra\\-logs \\- Print what a container's program has written\n"))
    }

    @Test func whatRoffWouldObeyIsText() {
        var page = Roff()
        page.line(".\\-x")
        page.line("'y \"z\"")
        page.request("B", ["a \"b\""])
        #expect(page.text == "\\&.\\e\\-x\n\\&'y \"z\"\n.B \"a \\(dqb\\(dq\"\n")
    }

    /// As `man` formats them, with every warning that groff has.
    @Test func noPageHasAWarning() throws {
        let directory = try TemporaryDirectory()
        for page in try ManualPage.all() {
            let path = directory.file("\(page.name).1")
            try Files.write(Array(page.text.utf8), to: path)
            let output = try ChildProcess.output(
                "sh", ["-c", "groff -man -ww -b -z -Kutf8 -Tutf8 -rHY=0 \"$1\" 2>&1", "sh", path])
            #expect(output == "", "\(page.name)")
        }
    }
}
