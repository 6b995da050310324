// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

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
