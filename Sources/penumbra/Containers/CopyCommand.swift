// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraMachine
import PenumbraProtocol
import PenumbraSystem

struct CopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp",
        abstract: "Copy files between a running container and this host.",
        usage: """
            penumbra cp [OPTION ...] CONTAINER:PATH DESTINATION|-
                   penumbra cp [OPTION ...] SOURCE|- CONTAINER:PATH
            """,
        discussion: """
            A directory comes with all that is in it; '/.' at its end stands for what is in it alone. What \
            is copied to a directory comes to be in it; what is copied to a name that is not there gets \
            that name. '-' is a tar archive, from standard input or to standard output.

            Files out of a container are yours, without set-user-ID bits; those that go in are root's.
            """)

    @Flag(name: [.short, .long], help: "Keep owners (out of a container: only for root).")
    var archive = false

    @Flag(name: [.customShort("L"), .long], help: "Copy what a link at the source's path leads to.")
    var followLink = false

    @Flag(name: [.short, .long], help: "Do not say what was copied.")
    var quiet = false

    /// Standard input is one file or tree, and goes where the path says: what this program sends itself.
    @Flag(help: .private)
    var placed = false

    @OptionGroup var place: MachineOption

    @Argument(help: "What to copy.", completion: .file())
    var source: String

    @Argument(help: "Where to.", completion: .file())
    var destination: String

    func validate() throws {
        switch (CopyEnd(source), CopyEnd(destination)) {
        case (.container, .container):
            throw ValidationError(
                "copying from container to container is not supported: copy to '-' and from it")
        case (.container(let name, _), _), (_, .container(let name, _)):
            if name.isEmpty { throw ValidationError("give a container before the ':'") }
            if source.isEmpty || destination.isEmpty { throw ValidationError("a path is empty") }
        case (.local, _), (.stream, _):
            throw ValidationError("one of the two paths must be a container's: CONTAINER:PATH")
        }
    }

    func run() throws {
        try GuestReport.exit(failure: 1) {
            switch (CopyEnd(source), CopyEnd(destination)) {
            case (.container(let name, let path), .stream): try sendOut(name, path)
            case (.stream, .container(let name, let path)): try takeIn(name, path)
            case (.container(_, let path), .local(let local)):
                try HostCopy(command: self).extract(path, to: local)
            case (.local(let local), .container): try HostCopy(command: self).pack(local)
            default: preconditionFailure("refused by validate()")
            }
        }
    }

    /// Once more, for another penumbra.
    var options: [String] {
        ["cp"] + (archive ? ["--archive"] : []) + (followLink ? ["--follow-link"] : [])
            + (placed ? ["--placed"] : [])
    }

    // MARK: Tar streams

    private func sendOut(_ name: String, _ path: CopyPath) throws -> Int32 {
        guard isatty(STDOUT_FILENO) == 0 else {
            throw ValidationError("an archive is nothing for a terminal: send it to a file or a program")
        }
        return try stream(name, .pack(path: path.bytes, followsLink: followLink), readsInput: false)
    }

    private func takeIn(_ name: String, _ path: CopyPath) throws -> Int32 {
        guard isatty(STDIN_FILENO) == 0 else {
            throw ValidationError("a terminal is no archive: give one on standard input")
        }
        return try stream(name, .unpack(path: path.destination, placed ? .target : .within), readsInput: true)
    }

    private func stream(_ name: String, _ request: MonitorMessage, readsInput: Bool) throws -> Int32 {
        switch try ContainerPlace.choose(place) {
        case .machine(let connection):
            return try ContainerPlace.forward(
                options + ["--", source, destination], to: connection, readsInput: readsInput)
        case .thisHost:
            let client = try MonitorClient(to: Containers.store().find(name))
            try client.send(request)
            if !readsInput { try client.send(.inputEnd) }
            var complaints = GuestLines()
            let end = try AttachedStreams(
                client: client, takesInput: readsInput, hasTerminal: false,
                signals: .session,
                writeError: { complaints.append($0) }
            ).run()
            for line in complaints.lines { Output.note("container '\(name)': \(line)") }
            return ContainerEnd.report(end)
        }
    }
}

/// What the agent of a guest complains of, which is not to be believed, nor sent to a terminal as it is.
struct GuestLines {
    private static let limit = 4096
    private var bytes: [UInt8] = []

    mutating func append(_ more: [UInt8]) { bytes += more.prefix(Self.limit - bytes.count) }

    var lines: [String] {
        String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { line in
            String(line.map { $0.isASCII && $0 >= " " && $0 <= "~" || $0.isLetter ? $0 : "?" })
        }
    }
}
