// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import CoreLint

@Suite struct AllowListTests {
    @Test func readsLimitsEntriesAndComments() throws {
        let list = try AllowList(
            parsing: """
                # why the file exists

                limit frame 640
                limit stack 4096
                privileged mov-cr3,invlpg Root.load(_:) -- the one place
                runtime? memset -- only some builds
                indirect-target f(_:) -> g() -- the hook
                """)
        #expect(list.frameLimit == 640)
        #expect(list.stackLimit == 4096)
        #expect(list.entries.map(\.kind) == [.privileged, .runtime, .indirectTarget])
        #expect(list.entries[0].subject == "Root.load(_:)")
        #expect(list.entries[0].lists("invlpg") && !list.entries[0].lists("mov-cr"))
        #expect(list.entries[1].isOptional && !list.entries[0].isOptional)
        #expect(list.entries[2].detail == "g()")
    }

    @Test(arguments: [
        "privileged wrmsr f", "privileged wrmsr f -- ", "privileged wrmsr -- why", "unheard-of f -- why",
        "frame many f -- why", "limit frame", "limit depth 4", "limit stack -1", "section -- why",
        "indirect-target f g -- why",
    ]) func refusesLinesThatSayTooLittle(line: String) {
        #expect(throws: AllowList.SyntaxError.self) { try AllowList(parsing: "# first\n" + line) }
    }

    @Test func saysWhichLineIsWrong() {
        #expect(throws: AllowList.SyntaxError(line: 2, problem: "no limit is called `depth`")) {
            try AllowList(parsing: "\nlimit depth 4")
        }
    }

    @Test func anExceptionThatMatchesNothingIsAFinding() throws {
        let findings = try lint("nop", allow: "privileged wrmsr gone -- once")
        #expect(findings.map(\.rule) == [.allowFile])
        #expect(findings[0].problem.contains("line 1"))
        #expect(try lint("nop", allow: "privileged? wrmsr gone -- in debug builds").isEmpty)
    }

    @Test(arguments: [
        ("ccore_*", "ccore_invlpg", true), ("*", "", true), ("a*c", "abbc", true), ("a*c", "abb", false),
        ("load(_:)", "load(_:)", true), ("load", "loader", false), ("*.load(_:)*", "Root.load(_:)", true),
    ]) func matchesPatterns(pattern: String, text: String, matches: Bool) {
        #expect(glob(pattern, matches: text) == matches)
    }
}
