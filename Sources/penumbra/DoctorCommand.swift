// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CPenumbra
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Look at what this host needs to run guests; exits with 1 if something failed.")

    @OptionGroup var format: FormatOption

    func run() throws {
        let installation = Installation()
        let machine = try Machine()
        let checks =
            HostChecks().all() + [try JailCheck.ofThisHost().check] + Self.moduleChecks(installation)
            + MachineChecks(machine: machine, installation: installation).all()
        switch format.format {
        case .json: try format.write(JSON.array(checks.map(Self.json)).text)
        case .text: try format.write(checks.map(Self.line).joined(separator: "\n"))
        }
        if checks.contains(where: { $0.status == .failed }) { throw ExitCode(1) }
    }

    private static func moduleChecks(_ installation: Installation) -> [Check] {
        do {
            let info = try Device().info()
            return [.ok("module", "\(VMMError.devicePath) answers"), version(info), core(info, installation)]
                + SpeculationCheck(info).checks
        } catch VMMError.noDevice {
            return [
                .warning(
                    "module", "\(VMMError.devicePath) does not exist",
                    "install the module ('make install'), or run guests in a machine ('penumbra machine start')"
                )
            ]
        } catch {
            return [.failed("module", "\(error)", "see above")]
        }
    }

    private static func version(_ info: penumbra_info) -> Check {
        if info.version == UInt32(PENUMBRA_INTERFACE_VERSION) {
            return .ok("interface", "version \(info.version)")
        }
        return .failed(
            "interface", "the module has version \(info.version), this program \(PENUMBRA_INTERFACE_VERSION)",
            "install both from one release and load the module again")
    }

    private static func core(_ info: penumbra_info, _ installation: Installation) -> Check {
        let buildID = BuildID(info)
        let location = CoreLocation(buildID: buildID, address: 0)
        if let image = location.image(installation) {
            return .ok("core", "build id \(buildID.digits), symbols in \(image)")
        }
        return .warning(
            "core", "build id \(buildID.digits), without a core.elf of that id at hand",
            "crash reports show addresses only: set PENUMBRA_CORE_ELF, or load the module of this build")
    }

    private static func line(_ check: Check) -> String {
        let label = check.status.rawValue
        let head = label + String(repeating: " ", count: 8 - label.count) + "\(check.name): \(check.finding)"
        return check.remedy.map { head + "\n        -> \($0)" } ?? head
    }

    private static func json(_ check: Check) -> JSON {
        var members: [(String, JSON)] = [
            ("name", .string(check.name)), ("status", .string(check.status.rawValue)),
            ("finding", .string(check.finding)),
        ]
        if let remedy = check.remedy { members.append(("remedy", .string(remedy))) }
        return .object(members)
    }
}
