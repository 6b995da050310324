// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The built jail-probe (Tests/JailProbe), run once.
struct Prisoner {
    private static let program = ".build-test/release/jail-probe"

    /// The names of all attempts.
    static let attempts: [String] =
        try! ChildProcess.output(program, ["list"]).split(whereSeparator: \.isNewline).map(String.init)

    let end: Termination
    let output: String
    let errors: String

    /// - Parameter place: a directory on which it builds its root.
    init(_ place: String, _ words: String..., user: uid_t? = nil) throws {
        let (reading, output) = try ChildProcess.pipe()
        let (complaints, errors) = try ChildProcess.pipe()
        let words = [Self.program, place] + words
        // setpriv(1) of util-linux: somebody who is not root.
        let command =
            user.map { ["setpriv", "--reuid=\($0)", "--regid=\($0)", "--clear-groups"] + words } ?? words
        let child = try ChildProcess(
            program: command[0], arguments: Array(command.dropFirst()),
            descriptors: [(output.number, 1), (errors.number, 2)]
        ).spawn()
        end = try ChildProcess.wait(for: child)
        reading.setNonblocking()
        complaints.setNonblocking()
        self.output = String(decoding: try reading.read(atMost: 1 << 16) ?? [], as: UTF8.self)
        self.errors = String(decoding: try complaints.read(atMost: 1 << 16) ?? [], as: UTF8.self)
    }

    /// What the kernel answered; nil: the process did not live to tell.
    var answer: Int? {
        let words = output.split(whereSeparator: \.isWhitespace)
        return words.first == "answer" ? words.dropFirst().first.flatMap { Int($0) } : nil
    }

    /// By the jail, which says so; or, where the call is none of this kind of program's, by the kernel.
    var wasKilled: Bool {
        end == .exited(128 + SIGSYS) && errors.contains("penumbra: jail: refused system call")
            || end == .killed(signal: SIGSYS)
    }
}
