// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport

/// Static programs for the machine, compiled from Programs/.
enum HostPrograms {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    static func build(_ name: String) throws -> URL {
        let programs = Tree.root.appending(path: "Tests/PenumbraStressTests/Programs")
        let file = FileManager.default.temporaryDirectory.appending(path: "penumbra-\(UUID().uuidString)")
        let sources = ["\(name).c", "tiny_vm.c", "tiny_guests.S"].map { programs.appending(path: $0).path }
        let words = ["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", "interface", "-o"]
        let compiled = try RunningProgram(URL(filePath: "/usr/bin/cc"), words + [file.path] + sources)
            .finished()
        guard compiled.status == 0 else { throw Failure(description: compiled.errors) }
        return file
    }
}

extension TestMachine {
    /// Leaves these programs, compiled, in the machine's /tmp.
    func install(programs: [String]) throws {
        for name in programs {
            let file = try HostPrograms.build(name)
            defer { try? FileManager.default.removeItem(at: file) }
            try put(file, at: "/tmp/\(name)")
        }
    }

    /// Leaves these micro-guests in the machine's /tmp.
    func install(guests: [String]) throws {
        for name in guests { try put(Tree.image(name), at: "/tmp/\(name).elf") }
    }

    /// Runs shell commands in the machine all at once; what each printed, by name, where it ended
    /// with the status that belongs to it, else what went wrong.
    func together(_ jobs: [Job]) throws -> [String: String] { try begin(jobs).results() }

    func begin(_ jobs: [Job]) throws -> RunningJobs {
        let script = jobs.map { job in
            "{ (\(job.command)) >/tmp/\(job.name).out 2>&1; echo $? >/tmp/\(job.name).status; } &"
        }
        let shell = try begin((script + ["wait"]).joined(separator: "\n"))
        return RunningJobs(jobs: jobs, shell: shell, on: self)
    }
}

/// One of the counters that `penumbra guest --counters` printed; absent ones are 0.
func counter(_ name: String, in output: String?) -> Int {
    let words = (output ?? "").split(separator: "\n").map { $0.split(separator: " ") }
    let line = words.first { $0.dropFirst().starts(with: ["counter", name[...]]) }
    return line?.last.flatMap { Int($0) } ?? 0
}

/// A shell command that runs beside others.
struct Job {
    let name: String
    let command: String
    var status: Int32 = 0
}

/// Jobs under way in a machine.
struct RunningJobs {
    private let jobs: [Job]
    private let shell: RunningProgram
    private let machine: TestMachine

    init(jobs: [Job], shell: RunningProgram, on machine: TestMachine) {
        self.jobs = jobs
        self.shell = shell
        self.machine = machine
    }

    func results() throws -> [String: String] {
        _ = try shell.finished()
        var outputs: [String: String] = [:]
        for job in jobs {
            let output = try machine.shell("cat /tmp/\(job.name).out").output
            let status = try machine.shell("cat /tmp/\(job.name).status").output
            guard status == "\(job.status)\n" else {
                throw HostPrograms.Failure(
                    description: "\(job.name) ended with \(status) instead of \(job.status)\n\(output)")
            }
            outputs[job.name] = output
        }
        return outputs
    }
}
