// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

struct PsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ps", abstract: "List the VMs that run: this user's on this host, or the machine's.")

    @OptionGroup var place: PlaceOption
    @OptionGroup var format: FormatOption

    func run() throws {
        switch try Place.choose(place) {
        case .thisHost: try list()
        case .machine(let connection):
            throw ExitCode(
                try RemoteProgram.run(
                    Command(["penumbra", "ps", "--here", "--format", format.format.rawValue]), on: connection,
                    readsInput: false
                ).exitCode)
        }
    }

    private func list() throws {
        let guests = try Self.guests(in: RunDirectory())
        switch format.format {
        case .json: try format.write(JSON.array(guests.map(Self.json)).text)
        case .text: try format.write(Self.table(guests))
        }
    }

    /// One that ends meanwhile, or does not answer, is left out; the latter with a word about it.
    private static func guests(in directory: RunDirectory) throws -> [GuestStatus] {
        try directory.names().compactMap { name in
            do {
                return try directory.connect(to: GuestName(name)).status()
            } catch RunDirectory.Problem.notRunning {
                return nil
            } catch {
                Output.note("\(error)")
                return nil
            }
        }
    }

    private static func json(_ guest: GuestStatus) -> JSON {
        .object([
            ("name", .string(guest.name)), ("pid", .number(UInt64(guest.process))),
            ("state", .string(guest.state.rawValue)), ("memory", .number(guest.memory)),
            ("kernel", .string(guest.kernel)), ("age", .number(guest.age)),
        ])
    }

    static func table(_ guests: [GuestStatus]) -> String {
        let rows = guests.map { guest in
            [
                guest.name, String(guest.process), guest.state.rawValue, "\(guest.memory >> 20)M",
                "\(guest.age)s", guest.kernel,
            ]
        }
        return Table.text([["NAME", "PID", "STATE", "MEMORY", "AGE", "KERNEL"]] + rows)
    }
}

/// Columns for people.
enum Table {
    static func text(_ rows: [[String]]) -> String {
        let count = rows.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            row.enumerated().map { column, cell in
                column == row.count - 1
                    ? cell : cell + String(repeating: " ", count: widths[column] - cell.count + 2)
            }.joined()
        }.joined(separator: "\n")
    }
}

/// The name of a VM that runs.
struct GuestArgument: ParsableArguments {
    @Argument(help: "The VM's name.", completion: .custom { _, _, _ in (try? RunDirectory().names()) ?? [] })
    var name: String

    @OptionGroup var place: PlaceOption

    func validate() throws { _ = try GuestName(name) }

    func client() throws -> GuestClient { try RunDirectory().connect(to: GuestName(name)) }

    /// Does a verb's work here, or has the penumbra in the machine do it.
    func run(_ verb: String, _ options: [String] = [], here work: (GuestClient) throws -> Int32) throws
        -> Never
    {
        try GuestReport.exit {
            switch try Place.choose(place) {
            case .thisHost: try work(try client())
            case .machine(let connection):
                try RemoteProgram.run(
                    Command(["penumbra", verb, "--here"] + options + [name]), on: connection,
                    readsInput: false
                ).exitCode
            }
        }
    }
}
