// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraJail

/// A VM's process that tries to get out of its jail: each attempt is refused, or ends it.
@Suite("The jail of a VM's process", .enabled(if: geteuid() == 0, "needs root"))
struct JailTests {
    private let directory: TemporaryDirectory
    /// Where the jails' roots are built.
    private var place: String { directory.file("jail") }

    init() throws {
        directory = try TemporaryDirectory()
        try Files.makeDirectories(place)
    }

    /// With an error, since the C library tries these and does without.
    private static let refused: [String: Int32] = [
        "open": EACCES, "open-by-old-call": EACCES, "create": EACCES, "open-up": EACCES,
        "open-memory-of-parent": EACCES, "open-device": EACCES, "list-root": EACCES, "clone3": ENOSYS,
    ]
    /// Allowed to some threads: the error is what the kernel says of the arguments.
    private static let roles: [String: (error: Int32, of: Set<ThreadRole>)] = [
        "accept": (ENOTSOCK, []), "read-at": (EBADF, [.disk, .share]),
        "run-guest": (EBADF, [.virtualCPU]),
        "notify-guest": (EBADF, [.virtualCPU, .disk, .network, .share]),
    ]

    @Test("an attempt is refused or ends the process", arguments: Prisoner.attempts)
    func attempt(_ name: String) throws {
        let prisoner = try Prisoner(place, name)
        if let error = Self.refused[name] ?? Self.roles[name]?.error {
            #expect(prisoner.answer == -Int(error), "\(prisoner)")
        } else {
            #expect(prisoner.wasKilled, "\(prisoner)")
        }
    }

    @Test("a thread may do what its role needs, and nothing of the others'", arguments: ThreadRole.allCases)
    func role(_ role: ThreadRole) throws {
        for (attempt, (error, allowed)) in Self.roles {
            let prisoner = try Prisoner(place, attempt, "\(role)")
            if allowed.contains(role) {
                #expect(prisoner.answer == -Int(error), "\(attempt): \(prisoner)")
            } else {
                #expect(prisoner.wasKilled, "\(attempt): \(prisoner)")
            }
        }
    }

    /// free(3) opens one of /proc before it gives back memory of a thread's, and does without.
    @Test("a thread that tries a file is told that there is none to be had", arguments: ThreadRole.allCases)
    func file(_ role: ThreadRole) throws {
        let prisoner = try Prisoner(place, "open", "\(role)")
        #expect(prisoner.answer == -Int(EACCES), "\(prisoner)")
    }

    @Test("threads of all roles run, and give their memory back") func lives() throws {
        let prisoner = try Prisoner(place, "live")
        #expect(prisoner.end == .exited(0) && prisoner.output == "wrote 5, time true\n", "\(prisoner)")
    }

    @Test("root is a user of this process's own, without rights, in a root with nothing in it")
    func root() throws {
        let status = try Status(Prisoner(place, "status"))
        let user = String(JailUser.user(ofProcess: try #require(pid_t(status["Pid"]))))
        #expect(status["Uid"] == [user, user, user, user].joined(separator: "\t"))
        #expect(status["Gid"] == status["Uid"] && status["Groups"] == "")
        status.requireNoRights()
        #expect(status.mounts.count == 1 && status.mounts[0].contains(" / / ro,nosuid,nodev,noexec"))
    }

    @Test("who is not root stays who he is, without rights, in a root with nothing in it")
    func ordinaryUser() throws {
        #expect(chmod(directory.path, 0o755) == 0 && chown(place, 12345, 12345) == 0)
        let status = try Status(Prisoner(place, "status", user: 12345))
        // Inside its user namespace and outside the number is the same.
        #expect(status["Uid"] == "12345\t12345\t12345\t12345")
        status.requireNoRights()
        #expect(status.mounts.count == 1)
    }

    @Test("a share's files are opened, and go to any owner; what is outside is not there")
    func shares() throws {
        let shared = directory.file("shared")
        try Files.makeDirectories(shared)
        try Files.write(Array("inside".utf8), to: shared + "/file")
        try Files.write(Array("outside".utf8), to: directory.file("secret"))
        #expect(symlink(directory.file("secret"), shared + "/link") == 0)
        let opened = try Prisoner(place, "share", shared, "file")
        #expect(opened.output == "answer 0 owner 0\n", "\(opened)")
        #expect(try Prisoner(place, "share", shared, "new").answer == 0)
        for name in [
            "../secret", "../../../etc/passwd", directory.file("secret"), "/etc/passwd", "link",
            "../../proc/self/environ", "/proc/self/mem",
        ] {
            let prisoner = try Prisoner(place, "share", shared, name)
            #expect(
                [-Int(ENOENT), -Int(EACCES), -Int(EROFS)].contains(prisoner.answer), "\(name): \(prisoner)")
        }
        #expect(Files.text(directory.file("secret")) == "outside")
    }
}

/// /proc/self/status and mountinfo, as the jailed process saw them.
private struct Status {
    private let fields: [String: String]
    let mounts: [Substring]

    init(_ prisoner: Prisoner) throws {
        let lines = prisoner.output.split(whereSeparator: \.isNewline)
        try #require(prisoner.end == .exited(0), "\(prisoner)")
        fields = Dictionary(
            lines.filter { $0.contains(":\t") }.map { line in
                let parts = line.split(separator: ":\t", maxSplits: 1, omittingEmptySubsequences: false)
                return (String(parts[0]), parts[1].trimmed)
            }, uniquingKeysWith: { first, _ in first })
        mounts = lines.filter { $0.contains(" - ") }
    }

    subscript(_ name: String) -> String { fields[name] ?? "" }

    func requireNoRights() {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            #expect(self[set].allSatisfy { $0 == "0" } && !self[set].isEmpty, "\(set): \(self[set])")
        }
        #expect(self["NoNewPrivs"] == "1" && self["Seccomp"] == "2" && self["Threads"] == "1")
    }
}

extension Substring {
    fileprivate var trimmed: String {
        var text = self
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
