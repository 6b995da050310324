// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

/// Where a verb that needs the module runs.
enum Place {
    case thisHost
    case machine(Connection)

    /// /dev/penumbra if it is there, else the running machine.
    static func choose(_ option: PlaceOption) throws -> Place {
        if option.here || (option.machine == nil && Device.isPresent) {
            if !option.here { Output.note("on this host") }
            return .thisHost
        }
        let name = option.machine ?? StateDirectory.defaultName
        let machine = try Machine(name: name)
        guard machine.state.isRunning || option.machine != nil else {
            Output.note(
                "there is neither \(VMMError.devicePath) nor a running machine: "
                    + "start one with 'penumbra machine start'")
            throw ExitCode(ExitStatus.unavailable)
        }
        let connection = try machine.connect()
        Output.note("in machine '\(name)'")
        return .machine(connection)
    }
}

struct PlaceOption: ParsableArguments {
    @Option(help: "Run in this machine, even if the host has the module.")
    var machine: String?

    /// What a machine's own penumbra is told: here or not at all, and not a word about it.
    @Flag(help: .private)
    var here = false
}
