// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CPenumbra
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

struct InfoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "What the module is, and what it holds now: nothing when no VM exists."
    )

    @OptionGroup var place: PlaceOption
    @OptionGroup var format: FormatOption

    func run() throws {
        switch try Place.choose(place) {
        case .thisHost: try format.print(Self.fields(try Device().info()))
        case .machine(let connection):
            let command = Command(["penumbra", "info", "--here", "--format", format.format.rawValue])
            throw ExitCode(try RemoteProgram.run(command, on: connection).exitCode)
        }
    }

    private static func fields(_ info: penumbra_info) -> [(String, JSON)] {
        let features = [
            (PENUMBRA_FEATURE_RESTRICTED, "restricted"), (PENUMBRA_FEATURE_LA57, "la57"),
            (PENUMBRA_FEATURE_PCID, "pcid"), (PENUMBRA_FEATURE_SMAP, "smap"),
            (PENUMBRA_FEATURE_SMEP, "smep"), (PENUMBRA_FEATURE_UMIP, "umip"),
            (PENUMBRA_FEATURE_DEBUG_CORE, "debug-core"),
        ].filter { info.features & UInt32($0.0) != 0 }.map { JSON.string($0.1) }
        let speculation = Speculation(info)
        return [
            ("version", .number(UInt64(info.version))),
            ("build-id", .string(BuildID(info).digits)),
            ("features", .array(features)),
            ("cpu", .array(speculation.factNames.map(JSON.string))),
            ("barriers", .array(speculation.barrierNames.map(JSON.string))),
            ("max-vcpus", .number(UInt64(info.max_vcpus))),
            ("vms", .number(info.vms)), ("vcpus", .number(info.vcpus)),
            ("pinned-pages", .number(info.pinned_pages)), ("pool-pages", .number(info.pool_pages)),
            ("table-pages", .number(info.table_pages)),
        ]
    }
}
