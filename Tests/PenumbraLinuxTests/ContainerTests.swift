// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

/// Containers as a user meets them, in a machine with a disk, of an image with busybox, and with fio and apt as
/// this system has them.
@Suite(.serialized) struct ContainerTests {
    /// An archive as `docker save` makes them, of a root with busybox, links to it, and `ContainerPrograms`.
    private static let archive = """
        set -e; cd "$1"; mkdir -p root/bin root/etc root/tmp; cp "$(command -v busybox)" root/bin/busybox
        for name in $(root/bin/busybox --list); do [ $name = busybox ] || ln -s busybox root/bin/$name; done
        printf 'root:x:0:0::/root:/bin/sh\\nuser:x:1000:1000::/tmp:/bin/sh\\n' >root/etc/passwd
        printf 'root:x:0:\\nuser:x:1000:\\n' >root/etc/group
        \(ContainerPrograms.copy)
        tar -C root --owner=0 --group=0 -cf layer.tar .; sum=$(sha256sum <layer.tar)
        printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Env":["FROM=image"]},' >config.json
        printf '"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' ${sum%% *} >>config.json
        printf '[{"Config":"config.json","RepoTags":["busybox:test"],"Layers":["layer.tar"]}]' >manifest.json
        tar -cf archive.tar config.json layer.tar manifest.json
        """

    private let directory = FileManager.default.temporaryDirectory.appending(
        path: "penumbra-containers-\(UUID().uuidString)")

    private let name = "containers-\(ProcessInfo.processInfo.processIdentifier)"

    /// In the machine, with words behind the verb's first.
    private func penumbra(_ verb: String, _ words: String...) throws -> Finished {
        try PenumbraTestSupport.penumbra([verb, "--machine", name] + words)
    }

    private func run(_ words: String...) throws -> Finished {
        try PenumbraTestSupport.penumbra(["run", "--machine", name, "--rm"] + words)
    }

    @Test("Containers of an image with busybox") func containers() throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let made = try RunningProgram(
            URL(filePath: "/bin/sh"), ["-c", Self.archive, "sh", directory.path]
        ).finished()
        try #require(made.status == 0, "\(made.errors)")
        try startMachine()
        defer { stopMachine() }
        let loaded = try PenumbraTestSupport.penumbra(
            "image", "load", "--machine", name, "--quiet", directory.appending(path: "archive.tar").path)
        try #require(loaded.output == "Loaded image: busybox:test\n", "\(loaded.errors)")
        try exitCodes()
        try flags()
        try life()
        try longLog()
        try manyAtOnce()
        try ContainerPrograms(machine: name, image: "busybox:test").check()
        // A machine that starts again has a new log.
        try expectNoComplaints()
        try powerCut()
        try expectNoComplaints()
    }

    private func expectNoComplaints() throws {
        let complaints = try PenumbraTestSupport.penumbra(
            "machine", "logs", "--name", name, "--log", "console", "--complaints")
        #expect(complaints.status == 0, "\(complaints.output)")
    }

    private func startMachine() throws {
        let started = try PenumbraTestSupport.penumbra(
            "machine", "start", "--name", name, "--disk", "2G", "--timeout", "300")
        try #require(started.status == 0, "\(started.errors)")
    }

    private func stopMachine() {
        _ = try? PenumbraTestSupport.penumbra("machine", "stop", "--name", name)
        let state = ProcessInfo.processInfo.environment["PENUMBRA_STATE_DIR"]
        if let state { try? FileManager.default.removeItem(atPath: "\(state)/machine/\(name)/data.img") }
    }

    private func exitCodes() throws {
        for (command, status) in [
            (["true"], Int32(0)), (["false"], 1), (["sh", "-c", "exit 42"], 42), (["nosuch"], 127),
            (["/etc/passwd"], 126), (["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"], 139),
        ] {
            let finished = try PenumbraTestSupport.penumbra(
                ["run", "--machine", name, "--rm", "busybox:test"] + command)
            #expect(finished.status == status, "\(command): \(finished.output)\(finished.errors)")
        }
        let unknown = try run("nosuch.invalid/image:1", "true")
        #expect(unknown.status == 125 && unknown.errors.contains("nosuch.invalid"), "\(unknown.errors)")
    }

    /// Each against what the OCI runtime specification has for it.
    private func flags() throws {
        let show = """
            echo "$FROM $A $B"; id -u; id -g; pwd; hostname; nproc; ulimit -n; grep CapEff /proc/self/status
            touch /file 2>/dev/null && echo written; df -k /small | tail -n 1 | awk '{print $2}'
            """
        let finished = try run(
            "-e", "A=1", "--env", "B=two words", "--user", "user", "--workdir", "/tmp", "--hostname", "box",
            "--cpus", "2", "--ulimit", "nofile=99:100", "--cap-drop", "ALL", "--read-only", "--tmpfs",
            "/small:size=64k",
            "busybox:test", "sh", "-c", show)
        #expect(
            finished.output == """
                image 1 two words
                1000
                1000
                /tmp
                box
                2
                99
                CapEff:\t0000000000000000
                64

                """, "\(finished.errors)")
        let wrote = try run("-v", "data:/data", "busybox:test", "sh", "-c", "echo kept >/data/file")
        #expect(wrote.status == 0, "\(wrote.errors)")
        let read = try run(
            "-v", "data:/in:ro", "busybox:test", "sh", "-c",
            "cat /in/file; echo x 2>/dev/null >/in/file || echo refused")
        #expect(read.output == "kept\nrefused\n", "\(read.errors)")
        let removed = try PenumbraTestSupport.penumbra("volume", "rm", "--machine", name, "data")
        #expect(removed.output == "data\n", "\(removed.errors)")
        let entry = try run("--entrypoint", "echo", "busybox:test", "-n", "words")
        #expect(entry.output == "words", "\(entry.errors)")
    }

    private func life() throws {
        let script = "trap 'echo bye; exit 3' TERM; echo up; echo kept >/kept; while :; do sleep 0.1; done"
        let run = try penumbra("run", "-d", "--name", "web", "busybox:test", "sh", "-c", script)
        #expect(run.status == 0 && run.output.count == 65, "\(run.errors)")
        let again = try penumbra("run", "-d", "--name", "web", "busybox:test", "true")
        #expect(again.status == 125 && again.errors.contains("the name 'web' is in use"), "\(again.errors)")
        #expect(try penumbra("ps", "--format", "{{.Names}} {{.State}}").output == "web running\n")
        let inside = try penumbra("exec", "web", "sh", "-c", "cat /kept; exit 5")
        #expect(inside.status == 5 && inside.output == "kept\n", "\(inside.errors)")
        try copies(with: "web")
        #expect(try penumbra("rm", "web").errors.contains("is running"))
        #expect(try penumbra("stop", "web").status == 0)
        #expect(try penumbra("logs", "web").output == "up\nbye\n")
        #expect(try penumbra("logs", "-n", "1", "web").output == "bye\n")
        #expect(try penumbra("wait", "web").output == "3\n")
        // What it wrote is still there.
        #expect(try penumbra("start", "web").status == 0)
        #expect(try penumbra("exec", "web", "cat", "/kept").output == "kept\n")
        #expect(try penumbra("kill", "web").status == 0)
        #expect(try penumbra("wait", "web").output == "137\n")
        #expect(try penumbra("start", "web").status == 0)
        try killMonitor()
        let state = try penumbra("inspect", "--format", "{{.State.Status}} {{.State.Error}}", "web")
        #expect(state.output == "exited its VM's process was killed on the host\n", "\(state.errors)")
        #expect(try penumbra("rm", "web").output == "web\n")
        #expect(try penumbra("ps", "-a", "-q").output == "")
    }

    /// A full log goes on in a new file, which the jailed monitor gets from its keeper, and the oldest goes.
    private func longLog() throws {
        let run = try penumbra(
            "run", "--name", "talker", "--log-opt", "max-size=10k", "--log-opt", "max-file=2", "busybox:test",
            "seq", "1000")
        #expect(run.output == (1...1000).map { "\($0)\n" }.joined(), "\(run.output)\(run.errors)")
        let kept = try penumbra("logs", "talker").output.split(separator: "\n")
        #expect(kept.last == "1000" && (50..<500).contains(kept.count), "\(kept)")
        #expect(try penumbra("rm", "talker").output == "talker\n")
    }

    /// Files in and out, through the machine.
    private func copies(with container: String) throws {
        let (tree, copy) = (directory.appending(path: "tree"), directory.appending(path: "copy"))
        let below = tree.appending(path: "sub")
        try FileManager.default.createDirectory(at: below, withIntermediateDirectories: true)
        try Data("deep\n".utf8).write(to: below.appending(path: "file"))
        let put = try penumbra("cp", "--quiet", tree.path, "\(container):/in")
        #expect(put.status == 0 && put.errors == "", "\(put.errors)")
        let got = try penumbra("cp", "\(container):/in/.", copy.path)
        #expect(got.errors == "Successfully copied 5B to \(copy.path)\n")
        #expect(try String(contentsOf: copy.appending(path: "sub/file"), encoding: .utf8) == "deep\n")
        let stream = try penumbra("cp", "\(container):/in/sub/file", "-")
        #expect(stream.status == 0 && stream.output.contains("deep\n"), "\(stream.errors)")
        let missing = try penumbra("cp", "\(container):/nosuch", copy.path)
        #expect(missing.status == 1 && missing.errors.contains("/nosuch: No such file"), "\(missing.errors)")
    }

    /// SIGKILL, as when the host's memory runs out.
    private func killMonitor() throws {
        let script = """
            for process in /proc/[0-9]*; do
                ! grep -q 'container-monito[r]' $process/cmdline 2>/dev/null || kill -9 ${process#/proc/}
            done; sleep 1
            """
        #expect(
            try PenumbraTestSupport.penumbra("machine", "exec", "--name", name, "--", "sh", "-c", script)
                .status
                == 0)
    }

    /// QEMU is killed while a container writes to its disk and to a volume, and an image is loaded. What
    /// the container was told to be on the medium before it printed a number is there.
    private func powerCut() throws {
        let script = """
            [ ! -e /v/stop ] || exec sleep 1000
            i=0; while :; do i=$((i+1)); for place in / /v/; do
                echo $i | dd of=$place$i conv=fsync 2>/dev/null; done; echo $i; done
            """
        let writer = try RunningProgram(
            Tree.penumbra,
            ["run", "--machine", name, "--name", "cut", "-v", "kept:/v", "busybox:test", "sh", "-c", script])
        let load = try RunningProgram(
            Tree.penumbra, ["image", "load", "--machine", name, "--input", try secondImage()])
        while try writer.outputSoFar().split(separator: "\n").count < 20, writer.isRunning { usleep(100_000) }
        try killMachine()
        let acknowledged = try writer.finished().output.split(separator: "\n").count
        _ = try load.finished()
        #expect(acknowledged >= 20, "\(acknowledged)")
        try startMachine()
        let state = try penumbra("inspect", "--format", "{{.State.ExitCode}} {{.State.Error}}", "cut")
        #expect(state.output == "255 the host went down while it ran\n", "\(state.errors)")
        let check = """
            i=0; while [ $((i+=1)) -le \(acknowledged) ]; do echo $i | cmp - $0$i || exit; done; echo all
            """
        let volume = try run("-v", "kept:/v", "busybox:test", "sh", "-c", check + "; touch /v/stop", "/v/")
        #expect(volume.output == "all\n", "\(volume.output)\(volume.errors)")
        let started = try penumbra("start", "cut")
        #expect(started.status == 0, "\(started.errors)")
        let disk = try penumbra("exec", "cut", "sh", "-c", check, "/")
        #expect(disk.output == "all\n", "\(disk.output)\(disk.errors)")
        #expect(try penumbra("rm", "--force", "cut").output == "cut\n")
        // The other image was loaded whole, or not at all; now it is.
        let again = try PenumbraTestSupport.penumbra(
            "image", "load", "--machine", name, "--quiet", "--input", try secondImage())
        #expect(again.output == "Loaded image: busybox:second\n", "\(again.errors)")
        #expect(try run("busybox:second", "cat", "/large").output.count == 1 << 20)
    }

    /// Another archive, with a file that takes a while to be unpacked and written.
    private func secondImage() throws -> String {
        let archive = directory.appending(path: "second.tar").path
        if FileManager.default.fileExists(atPath: archive) { return archive }
        let script = """
            set -e; cd "$1"; head -c 786432 /dev/urandom | base64 -w 0 >root/large
            tar -C root --owner=0 --group=0 -cf layer.tar .
            sum=$(sha256sum <layer.tar); sed -i "s/sha256:[0-9a-f]*/sha256:${sum%% *}/" config.json
            sed -i s/busybox:test/busybox:second/ manifest.json
            tar -cf second.tar config.json layer.tar manifest.json
            """
        let made = try RunningProgram(URL(filePath: "/bin/sh"), ["-c", script, "sh", directory.path])
            .finished()
        try #require(made.status == 0, "\(made.errors)")
        return archive
    }

    /// As when the power goes: nothing of the machine's is written that was not.
    private func killMachine() throws {
        let status = try PenumbraTestSupport.penumbra("machine", "status", "--name", name, "--format", "json")
        let pid = try #require(
            status.output.firstMatch(of: /"pid"\s*:\s*([0-9]+)/).flatMap { Int32($0.1) }, "\(status.output)")
        #expect(kill(pid, SIGKILL) == 0)
        for _ in 0..<1000 where kill(pid, 0) == 0 { usleep(10_000) }
    }

    private func manyAtOnce() throws {
        let programs = try (1...5).map { number in
            try RunningProgram(
                Tree.penumbra,
                [
                    "run", "--machine", name, "--rm", "--memory", "128M", "busybox:test", "sh", "-c",
                    "echo from \(number); exit \(number)",
                ])
        }
        for (number, program) in zip(1..., programs) {
            let finished = try program.finished()
            #expect(
                finished.status == Int32(number) && finished.output == "from \(number)\n",
                "\(finished.errors)")
        }
    }
}
