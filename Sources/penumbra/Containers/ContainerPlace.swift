// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

/// Where a verb of containers, images or volumes works: on this host if it has /dev/penumbra, else in
/// the machine, where this program does the same once more. What a verb needs of the user's side (files,
/// variables, the terminal) is resolved out here and passed as options; the machine keeps the rest.
///
/// A machine that does not run is not started by such a verb: that takes many seconds and gigabytes,
/// and stays. The error says how to start it.
enum ContainerPlace {
    case thisHost
    case machine(Connection)

    static func choose(_ option: MachineOption) throws -> ContainerPlace {
        if option.here || (option.machine == nil && Device.isPresent) { return .thisHost }
        let name = option.machine ?? StateDirectory.defaultName
        let machine = try Machine(name: name)
        guard machine.state.isRunning || option.machine != nil else {
            Output.note(
                "there is neither \(VMMError.devicePath) nor a running machine: "
                    + "start one with 'penumbra machine start'")
            throw ExitCode(ExitStatus.unavailable)
        }
        return .machine(try machine.connect())
    }

    /// Runs `words`, a verb with its options, in the machine, on this process's streams.
    static func forward(
        _ words: [String], to connection: Connection, terminal: Bool = false, readsInput: Bool = false
    ) throws -> Int32 {
        let command = Command(["penumbra"] + words)
        let end =
            terminal
            ? try RemoteProgram.run(command, inTerminalOn: connection)
            : try RemoteProgram.run(command, on: connection, readsInput: readsInput)
        return end.exitCode
    }
}

/// Which machine, for hosts without the module, or in spite of it.
struct MachineOption: ParsableArguments {
    @Option(help: "Do it in this machine, even if the host has the module.")
    var machine: String?

    /// On this host, module or not: images need none.
    @Flag(help: .private)
    var here = false
}

extension GuestReport {
    /// Does a verb's work here, or the same words' in the machine.
    static func exit(
        at option: MachineOption, forwarding words: [String], here work: () throws -> Int32
    ) throws -> Never {
        try exit(failure: 1) {
            switch try ContainerPlace.choose(option) {
            case .thisHost: try work()
            case .machine(let connection): try ContainerPlace.forward(words, to: connection)
            }
        }
    }
}

/// What verbs of images do: here, or with the same words in the machine.
extension ContainerPlace {
    static func perform(
        at option: MachineOption, readsInput: Bool = false, here work: () throws -> Void
    ) throws {
        switch try choose(option) {
        case .thisHost: try work()
        case .machine(let connection):
            let status = try forward(
                ownWords(CommandLine.arguments), to: connection, readsInput: readsInput)
            if status != 0 { throw ExitCode(status) }
        }
    }

    /// This program's words without its name and `--machine`.
    static func ownWords(_ arguments: [String]) -> [String] {
        var (words, skips) = ([String](), false)
        for word in arguments.dropFirst() {
            if skips {
                skips = false
            } else if word == "--machine" {
                skips = true
            } else if !word.hasPrefix("--machine=") {
                words.append(word)
            }
        }
        return words
    }
}

/// Containers that a verb is for.
struct ContainerArguments: ParsableArguments {
    @Argument(
        help: "Containers, by name, id or the beginning of an id.",
        completion: .custom { _, _, _ in Containers.names() })
    var containers: [String]

    /// Does something for each; one that fails has its line and does not stop the others.
    func forEach(_ work: (String) throws -> Void) -> Int32 {
        var status: Int32 = 0
        for name in containers {
            do { try work(name) } catch {
                Output.note("\(error)")
                status = 1
            }
        }
        return status
    }
}

/// This host's containers.
enum Containers {
    static func store() throws -> ContainerStore { try ContainerStore(DataDirectory()) }

    /// For completions: without a store there are none.
    static func names() -> [String] { ((try? store().list()) ?? []).map(\.name) }

    static func starter(_ store: ContainerStore) -> ContainerStarter {
        let program = Files.resolve("/proc/self/exe") ?? "/proc/self/exe"
        return ContainerStarter(
            store: store, command: [program, ContainerMonitorCommand.configuration.commandName!])
    }
}
