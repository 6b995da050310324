// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM
import Testing

@testable import penumbra

@Suite struct ContainerCommandTests {
    private func parse<Verb: ParsableCommand>(_ words: [String], as: Verb.Type) throws -> Verb {
        try #require(try Penumbra.parseAsRoot(words) as? Verb)
    }

    @Test func whatFollowsTheImageIsThePrograms() throws {
        let verb = try parse(
            ["run", "--rm", "-it", "--name", "web", "-e", "A=1", "debian", "ls", "--rm", "-l", "--", "x"],
            as: RunCommand.self)
        #expect(verb.words.image == "debian" && verb.words.command == ["ls", "--rm", "-l", "--", "x"])
        #expect(verb.options.interactive && verb.options.tty && verb.options.isRemovedAtEnd && !verb.detach)
        #expect(verb.options.name == "web" && verb.options.env == ["A=1"])
    }

    @Test(arguments: [("1", 1), ("4", 4), ("2.0", 2), ("16", 16)])
    func processorsAreAWholeNumber(text: String, count: Int) throws {
        let verb = try parse(["run", "--cpus", text, "debian"], as: RunCommand.self)
        #expect(try verb.options.cpuCount() == count)
    }

    @Test func dashesMayComeBeforeTheImage() throws {
        let verb = try parse(["run", "--", "debian", "ls"], as: RunCommand.self)
        #expect(verb.words.image == "debian" && verb.words.command == ["ls"])
    }

    @Test(arguments: [
        ["run"], ["run", "--nosuch", "debian"], ["run", "--name", "a/b", "debian"],
        ["run", "--memory", "x", "debian"], ["run", "--cpus", "17", "debian"],
        ["run", "--cpus", "0", "debian"], ["run", "--cpus", "1.5", "debian"],
        ["run", "--cpus", "x", "debian"],
        ["run", "--hostname", "a b", "debian"], ["run", "--hostname", "-a", "debian"],
        ["run", "--workdir", "tmp", "debian"], ["run", "--tmpfs", "run", "debian"],
        ["run", "-v", "data", "debian"], ["run", "-v", "./data:/srv", "debian"],
        ["run", "-v", "data:srv", "debian"], ["run", "-v", "data:/", "debian"],
        ["run", "-v", "data:/a/../..", "debian"], ["run", "-v", "data:/srv:z", "debian"],
        ["run", "-v", "data:/srv", "--tmpfs", "/srv", "debian"], ["run", "--mount", "target=/srv", "debian"],
        ["run", "--mount", "type=bind,source=data,target=/srv", "debian"],
        ["run", "--mount", "type=volume,source=/data,target=/srv", "debian"],
        ["run", "--mount", "type=tmpfs,target=/srv,size=1", "debian"],
        ["run", "--tmpfs", "/run:rw", "debian"], ["run", "--tmpfs", "/run:mode=9", "debian"],
        ["run", "--cap-add", "FLY", "debian"], ["run", "--ulimit", "nofile", "debian"],
        ["run", "--ulimit", "nofile=5:1", "debian"], ["run", "--label", "=x", "debian"],
        ["run", "--env", "=x", "debian"], ["run", "--stop-signal", "65", "debian"],
        ["run", "--network", "bridge", "debian"], ["run", "-p", "80:80", "debian"],
        ["run", "--network", "user", "-p", "80", "debian"],
        ["run", "--env-file", "/nonexistent/file", "debian"],
        ["exec", "web"], ["exec", "--nosuch", "web", "ls"], ["exec", "--env", "A", "web", "ls"],
        ["exec", "--workdir", "x", "web", "ls"], ["start"], ["start", "--attach", "a", "b"], ["rm"], ["wait"],
        ["logs"], ["logs", "--tail", "-1", "a"], ["logs", "--since", "yesterday", "a"],
        ["logs", "--boot", "--timestamps", "a"], ["inspect"], ["inspect", "--format", "{{", "a"], ["attach"],
        ["cp", "a", "b"], ["cp", "a:/b", "c:/d"], ["cp", "-", "-"], ["cp", "-", "./a:b"], ["cp", ":/a", "b"],
        ["cp", "a:/b"], ["system", "df", "-v", "--format", "json"], ["system", "nosuch"], ["cp", "a:/b", ""],
        ["cp", "--nosuch", "a:/b", "c"],
    ])
    func nonsenseIsRefused(_ words: [String]) {
        #expect(throws: (any Error).self) { try Penumbra.parseAsRoot(words) }
    }

    /// The penumbra in the machine makes the container that was asked for out here.
    @Test func theMachineIsToldWhatWeWereTold() throws {
        let words = [
            "run", "-it", "--rm", "--name", "web", "-e", "A=1", "-e", "B=", "--user", "www-data:33",
            "--workdir", "/srv", "--entrypoint", "", "--hostname", "h.example", "--read-only",
            "--tmpfs", "/run:size=64m,mode=755", "--cap-add", "NET_ADMIN", "--cap-drop", "ALL",
            "--ulimit", "nofile=1:2", "--label", "a=b", "-m", "512M", "--stop-signal", "INT",
            "--network", "user", "-p", "8080:80", "-p", "127.0.0.1:53:53/udp", "-v", "data:/srv:ro",
            "--mount", "source=more,dst=/more", "--mount", "type=tmpfs,target=/scratch",
        ]
        let here = try parse(words + ["debian", "ls", "-l"], as: RunCommand.self)
        let creation = ContainerCreation(options: here.options, image: "debian", command: ["ls", "-l"])
        let there = try parse(["run"] + creation.words() + ["--", "debian", "ls", "-l"], as: RunCommand.self)
        #expect(there.words.image == "debian" && there.words.command == ["ls", "-l"])
        let again = ContainerCreation(options: there.options, image: "debian", command: ["ls", "-l"])
        #expect(try creation.words() == again.words())
        #expect(there.options.entrypoint == "" && there.options.user == "www-data:33")
        #expect(try there.options.capabilities() == Capabilities(name: "NET_ADMIN"))
        #expect(try there.options.limits() == [.init(name: "nofile", soft: 1, hard: 2)])
        let mounts = try there.options.mounts()
        #expect(
            try mounts.volumes == [
                .init(.volume(VolumeName("data")), target: "/srv", isReadOnly: true),
                .init(.volume(VolumeName("more")), target: "/more"),
            ])
        #expect(mounts.memory.map(\.target) == ["/run", "/scratch"])
        #expect(there.options.publish == ["8080:80", "127.0.0.1:53:53/udp"])
        #expect(there.options.env == ["A=1", "B="] && there.options.memory == "512M")
    }

    @Test func aDirectoryOfOursIsNoneOfTheMachines() throws {
        let verb = try parse(["run", "-v", "/srv:/data", "debian"], as: RunCommand.self)
        #expect(try verb.options.mounts().volumes == [.init(.directory("/srv"), target: "/data")])
        #expect(throws: ContainerError.self) { try verb.options.volumesForMachine() }
    }

    @Test func aVariableWithoutAValueHasOurs() throws {
        let verb = try parse(["run", "-e", "A", "-e", "B", "-e", "C=3", "debian"], as: RunCommand.self)
        #expect(try verb.options.environment { $0 == "A" ? "1" : nil } == ["A=1", "C=3"])
    }

    @Test func capabilitiesAreAddedAndDropped() throws {
        func capabilities(_ words: String...) throws -> Capabilities {
            try parse(["run"] + words + ["debian"], as: RunCommand.self).options.capabilities()
        }
        #expect(try capabilities() == .standard)
        #expect(try capabilities("--cap-drop", "ALL") == [])
        #expect(try capabilities("--cap-add", "ALL") == .all)
        #expect(try capabilities("--cap-drop", "CHOWN").contains(Capabilities(name: "CHOWN")!) == false)
        #expect(try capabilities("--cap-add", "SYS_ADMIN").isSuperset(of: .standard))
    }

    @Test(arguments: [("64k", UInt64(65536)), ("1G", 1 << 30), ("4096", 4096)])
    func aMountInMemoryHasASize(_ text: String, _ bytes: UInt64) throws {
        #expect(try TemporaryMount("/run:size=\(text)").mount.limit == bytes)
    }

    @Test func theLaterVariableHolds() {
        #expect(
            ContainerCreation.merged(["PATH=/bin", "A=1"], ["A=2", "B=3"]) == ["PATH=/bin", "A=2", "B=3"])
    }

    @Test func whatExecRunsIsTheContainersButForWhatIsAsked() throws {
        var configuration = ContainerConfiguration(
            id: .random(), name: try ContainerName("web"), created: .now, image: "i", imageID: "i",
            entrypoint: [], command: ["server"], memory: 1 << 28, kernel: "k")
        configuration.environment = ["A=1"]
        configuration.user = "www"
        configuration.directory = "/srv"
        let plain = try parse(["exec", "web", "ls", "-l"], as: ExecCommand.self).process(in: configuration)
        #expect(plain.arguments == [Array("ls".utf8), Array("-l".utf8)])
        #expect(plain.user == "www" && plain.directory == "/srv" && plain.terminal == nil)
        let other = try parse(
            ["exec", "-it", "-e", "A=2", "-u", "root", "-w", "/", "web", "sh"], as: ExecCommand.self
        ).process(in: configuration)
        #expect(other.environment == [Array("A=2".utf8)] && other.user == "root" && other.directory == "/")
        #expect(other.terminal != nil)
    }

    @Test(arguments: [("90s", Int64(90)), ("10m", 600), ("2h30m", 9000), ("1h1m1s", 3661)])
    func aTimeAgoIsAMoment(_ text: String, _ seconds: Int64) throws {
        let now = Timestamp(seconds: 100_000, nanoseconds: 7)
        #expect(
            try LogsCommand.moment(text, now: now)
                == Timestamp(seconds: now.seconds - seconds, nanoseconds: 7))
    }

    @Test(arguments: [(0, ""), (1, "c\n"), (2, "b\nc\n"), (9, "a\nb\nc\n")])
    func theLastLinesAreKept(_ count: Int, _ expected: String) {
        #expect(Array(LogsCommand.lastLines(count, of: Array("a\nb\nc\n".utf8))) == Array(expected.utf8))
    }

    @Test func theKeysThatLeaveAreNotPassedOn() {
        var keys = DetachKeys()
        #expect(keys.take([1, 0x10]) == [1])
        #expect(keys.take([2]) == [0x10, 2])
        #expect(keys.take([0x10, 0x10, 3]) == [0x10, 0x10, 3])
        #expect(keys.take([0x10]) == [])
        #expect(keys.take([0x11]) == nil)
    }
}

@Suite struct ContainerListTests {
    private let now = Timestamp(seconds: 1_795_287_005)

    private func container(_ name: String, _ state: ContainerState, ago: Int64, command: [String]) throws
        -> Container
    {
        var configuration = ContainerConfiguration(
            id: ContainerID(String(repeating: "a1", count: 32))!, name: try ContainerName(name),
            created: Timestamp(seconds: now.seconds - ago), image: "debian:bookworm",
            imageID: "sha256:00", entrypoint: [], command: command, memory: 1 << 28, kernel: "k")
        configuration.publishedPorts = ["8080:80"]
        return Container(configuration: configuration, state: state)
    }

    private func exit(_ code: Int32, ago: Int64) -> ContainerState {
        .exited(
            ContainerExit(
                started: Timestamp(seconds: now.seconds - ago - 1),
                finished: Timestamp(seconds: now.seconds - ago), code: code))
    }

    @Test func aListHasDockersColumns() throws {
        let containers = [
            try container("fresh", .created, ago: 3, command: ["sh"]),
            try container(
                "web", .running(since: Timestamp(seconds: now.seconds - 300), process: 7, boot: "b"),
                ago: 7200, command: ["sh", "-c", "while true; do sleep 1; done\n"]),
            try container("done", exit(137, ago: 3 * 86400), ago: 20 * 86400, command: ["true"]),
        ]
        var rows = ContainerRow.rows(containers, now: now, isWhole: false)
        rows.append(
            ContainerRow(
                GuestStatus(
                    name: "vm", process: 12, state: .running, memory: 256 << 20, kernel: "vmlinuz", age: 65),
                now: now))
        #expect(
            ContainerRow.table(rows) == """
                CONTAINER ID  IMAGE            COMMAND                 CREATED             STATUS                   PORTS                                    NAMES
                a1a1a1a1a1a1  debian:bookworm  "sh"                    3 seconds ago       Created                                                           fresh
                a1a1a1a1a1a1  debian:bookworm  "sh -c while true; d…"  2 hours ago         Up 5 minutes             0.0.0.0:8080->80/tcp, [::]:8080->80/tcp  web
                a1a1a1a1a1a1  debian:bookworm  "true"                  2 weeks ago         Exited (137) 3 days ago                                           done
                -             vmlinuz          -                       About a minute ago  Up About a minute                                                 vm
                """)
    }

    @Test(arguments: [
        ("127.0.0.1:8080:80", "127.0.0.1:8080->80/tcp"), ("[::1]:53:5353/udp", "[::1]:53->5353/udp"),
        ("1:2", "0.0.0.0:1->2/tcp, [::]:1->2/tcp"),
    ])
    func aPortIsShownAsDockerDoes(_ port: String, _ shown: String) {
        #expect(ContainerRow.ports([port]) == shown)
    }

    @Test func roomHasDockersColumns() throws {
        let containers = [
            try container("web", .running(since: now, process: 7, boot: "b"), ago: 5, command: ["sh"]),
            try container("done", exit(0, ago: 5), ago: 10, command: ["sh"]),
        ]
        let usage = DiskUsage(
            images: [], imagesSize: 0, containers: [(containers[0], 3_000_000), (containers[1], 1_000_000)],
            volumes: [(try VolumeName("data"), 0, 1)])
        #expect(
            DiskUsage.table(usage.rows) == """
                TYPE           TOTAL  ACTIVE  SIZE  RECLAIMABLE
                Images         0      0       0B    0B
                Containers     2      1       4MB   1MB (25%)
                Local Volumes  1      1       0B    0B
                """)
        #expect(try OutputTemplate("{{.Type}} {{.TotalCount}}").text(usage.rows[1].json) == "Containers 2")
        #expect(usage.details(now: now).contains("VOLUME NAME  LINKS  SIZE\ndata         1      0B"))
    }

    @Test func aTemplateChoosesFields() throws {
        let row = ContainerRow.rows(
            [try container("web", exit(0, ago: 5), ago: 10, command: ["true"])], now: now, isWhole: false)[0]
        #expect(try OutputTemplate("{{.Names}}: {{.State}}").text(row.json) == "web: exited")
        let inspected = try container("web", exit(42, ago: 5), ago: 10, command: ["sh", "-c", "x"]).json
        let template = try OutputTemplate("{{.State.ExitCode}} {{json .Args}} {{.Name}}")
        #expect(try template.text(inspected) == #"42 ["-c","x"] /web"#)
    }

    @Test func usageHasColumns() {
        let row = UsageRow(
            id: "a1a1a1a1a1a1", name: "web", processor: 123, memory: 5 << 20, memoryLimit: 256 << 20)
        #expect(
            UsageRow.table([row]) == """
                CONTAINER ID  NAME  CPU %  MEM USAGE / LIMIT
                a1a1a1a1a1a1  web   12.3%  5MiB / 256MiB
                """)
    }
}
