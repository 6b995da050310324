// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// Tar streams out of a container and into it, through the built agent.
@Suite(.serialized, .enabled(if: AgentUnderTest.isPossible, "making containers takes root"))
struct CopyTests {
    @Test func aTreeGoesOutAndInAgain() throws {
        let agent = try AgentUnderTest.running()
        let make = """
            mkdir -p /t/d/empty /t/d/\(String(repeating: "long", count: 40)); cd /t/d; echo hello > file
            head -c 100000 /dev/urandom > big; chmod 4755 file; chown 1000:1001 big; ln file hard; ln -s ../x soft
            mkfifo pipe; mknod null c 1 3; cd long*; echo deep > $(printf '\\377')x; cd ..; touch -t 200102030405 file; mkdir /back
            """
        let made = try agent.shell(make) { $0.capabilities.formUnion(Capabilities(name: "MKNOD")!) }
        #expect(made.errorText == "")
        let packing = try agent.link.pack(Array("/t/d".utf8), followsLink: false)
        let archive = try agent.waitForEnd(of: packing)
        #expect(
            archive.errorText == "" && archive.end == .terminated(packing, .exited(0), outOfMemory: false))
        #expect(archive.output.count % 512 == 0)
        let unpacking = try agent.link.unpack(to: Array("/back".utf8), .within)
        agent.link.send(archive.output, to: unpacking)
        agent.link.endInput(of: unpacking)
        let unpacked = try agent.waitForEnd(of: unpacking)
        #expect(
            unpacked.errorText == "" && unpacked.end == .terminated(unpacking, .exited(0), outOfMemory: false)
        )
        let list =
            "find . | sort | while read -r x; do stat -c '%n %f %u %g %h %t %T %Y' \"$x\"; done; find . -type f | sort | xargs sha256sum; readlink soft"
        let before = try agent.shell("cd /t/d; \(list)").text
        #expect(before.split(separator: "\n").count == 15)
        #expect(try agent.shell("cd /back/d; \(list)").text == before)
    }

    @Test func anotherProgramReadsTheArchive() throws {
        let agent = try AgentUnderTest.running()
        let packing = try agent.link.pack(Array("/etc/passwd".utf8), followsLink: false)
        let archive = try agent.waitForEnd(of: packing)
        #expect(try agent.run(ProcessSpec("tar", "-t"), input: archive.output).text == "passwd\n")
    }

    @Test func copiesNeverLeaveTheContainer() throws {
        let agent = try AgentUnderTest.running()
        // A link of the container's that leads up and out leads to its own root.
        _ = try agent.shell("ln -s /../../../../etc /out; echo box > /etc/hostname")
        let packing = try agent.link.pack(Array("/out/hostname".utf8), followsLink: false)
        let archive = try agent.waitForEnd(of: packing)
        #expect(try agent.run(ProcessSpec("tar", "-xO"), input: archive.output).text == "box\n")
    }

    @Test func badCopiesFail() throws {
        let agent = try AgentUnderTest.running()
        let missing = try agent.waitForEnd(
            of: try agent.link.pack(Array("/nosuch".utf8), followsLink: false))
        #expect(missing.errorText == "lstat /nosuch: No such file or directory\n")
        for (input, complaint) in [
            ([UInt8](repeating: 65, count: 1024), "this is no tar archive"),
            ([UInt8](repeating: 65, count: 100), "ends in the middle"),
        ] {
            let session = try agent.link.unpack(to: Array("/tmp".utf8), .within)
            agent.link.send(input, to: session)
            agent.link.endInput(of: session)
            let outcome = try agent.waitForEnd(of: session)
            #expect(outcome.errorText.contains(complaint))
            #expect(outcome.end == .terminated(session, .exited(1), outOfMemory: false))
        }
    }

    @Test func aLinkStandsForWhatItLeadsTo() throws {
        let agent = try AgentUnderTest.running()
        _ = try agent.shell("mkdir /d; echo it >/d/file; ln -s d/file /link")
        for (follows, list) in [(false, "link -> d/file\n"), (true, "link\n")] {
            let packing = try agent.link.pack(Array("/link".utf8), followsLink: follows)
            let archive = try agent.waitForEnd(of: packing).output
            let listed = try agent.run(ProcessSpec("tar", "-tv"), input: archive).text
            #expect(listed.hasSuffix(list), "\(listed)")
        }
    }

    /// Docker's rules for the path, in the container.
    @Test func aTreeGoesWhereThePathSays() throws {
        let agent = try AgentUnderTest.running()
        _ = try agent.shell(
            """
            mkdir -p /s/d /there; chmod 700 /there; echo 1 >/s/d/file; echo 2 >/s/f; ln -s /there/old /to
            echo old >/there/old
            """)
        let (tree, content) = (try packed("/s/d", agent), try packed("/s/d/.", agent))
        let file = try packed("/s/f", agent)
        for (archive, path) in [
            (tree, "/there"), (tree, "/new/"), (content, "/there/"), (content, "/copy"), (file, "/there"),
            (file, "/name"), (file, "/to"),
        ] { #expect(try unpack(archive, path, agent) == "") }
        let listed = try agent.shell(
            "ls -A /there /new /copy; cat /name /there/old; readlink /to; stat -c %a /there"
        ).text
        #expect(
            listed == """
                /copy:
                file

                /new:
                file

                /there:
                d
                f
                file
                old
                2
                2
                /there/old
                700

                """)
        #expect(try unpack(tree, "/name", agent).contains("cannot take the place of the file"))
        #expect(try unpack(file, "/nosuch/", agent).contains("there is no directory '/nosuch/'"))
        #expect(try unpack(file, "/nosuch/name", agent).contains("No such file or directory"))
    }

    @Test func aFileIsThereWhenItIsWhole() throws {
        let agent = try AgentUnderTest.running()
        _ = try agent.shell("mkdir /d; echo old >/d/f; head -c 100000 /dev/zero >/f")
        let archive = try packed("/f", agent)
        #expect(try unpack(Array(archive.prefix(50_000)), "/d", agent).contains("ends in the middle"))
        #expect(try agent.shell("ls -A /d; cat /d/f").text == "f\nold\n")
    }

    private func packed(_ path: String, _ agent: AgentUnderTest) throws -> [UInt8] {
        try agent.waitForEnd(of: try agent.link.pack(Array(path.utf8), followsLink: false)).output
    }

    /// What the agent complains of.
    private func unpack(_ archive: [UInt8], _ path: String, _ agent: AgentUnderTest) throws -> String {
        let session = try agent.link.unpack(to: Array(path.utf8), .target)
        agent.link.send(archive, to: session)
        agent.link.endInput(of: session)
        return try agent.waitForEnd(of: session).errorText
    }
}
