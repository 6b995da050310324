// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraMachine
import PenumbraVMM

/// Says what stands between guests and the rest of the machine when the CPU runs ahead of itself, and what
/// keeps ring 0 in the guest's world from code and memory of the guest's.
struct SpeculationCheck {
    let speculation: Speculation
    /// PENUMBRA_FEATURE_*
    let features: UInt32

    private static let protections = [
        (PENUMBRA_FEATURE_SMEP, "SMEP"), (PENUMBRA_FEATURE_SMAP, "SMAP"), (PENUMBRA_FEATURE_UMIP, "UMIP"),
    ]

    init(_ info: penumbra_info) {
        self.init(speculation: Speculation(info), features: info.features)
    }

    init(speculation: Speculation, features: UInt32) {
        (self.speculation, self.features) = (speculation, features)
    }

    var checks: [Check] { [barriers, ringZero] }

    private var barriers: Check {
        let name = "barriers"
        if speculation.has(PENUMBRA_CPU_SPECTRE_V2) && !speculation.has(PENUMBRA_CPU_IBPB)
            && !speculation.has(PENUMBRA_CPU_EMULATED)
        {
            return .warning(
                name, "\(inUse); without IBPB a VM's branches steer those of the next on a CPU",
                "update the CPU's microcode (Debian: intel-microcode, amd64-microcode)")
        }
        return .ok(name, inUse)
    }

    private var inUse: String {
        let list = speculation.barrierNames
        let needed = list.filter { !speculation.extraNames.contains($0) }
        var parts: [String] = []
        if !needed.isEmpty { parts.append("\(needed.joined(separator: ", ")), which this CPU needs") }
        if !speculation.extraNames.isEmpty {
            parts.append("\(speculation.extraNames.joined(separator: ", ")), asked for")
        }
        if parts.isEmpty {
            let reason = speculation.has(PENUMBRA_CPU_EMULATED) ? "an emulated CPU" : "this CPU"
            return "none; \(reason) needs none"
        }
        return parts.joined(separator: "; ")
    }

    /// An emulated CPU is no place for hostile guests anyway, and the module leaves SMAP off there.
    private var ringZero: Check {
        let name = "ring 0"
        let on = Self.protections.filter { features & UInt32($0.0) != 0 }.map(\.1)
        let off = Self.protections.map(\.1).filter { !on.contains($0) }
        let finding =
            "guests run with \(on.isEmpty ? "none of SMEP, SMAP, UMIP" : on.joined(separator: ", "))"
        if off.isEmpty || speculation.has(PENUMBRA_CPU_EMULATED) { return .ok(name, finding) }
        return .warning(
            name, "\(finding); the CPU has no \(off.joined(separator: ", "))",
            "do not run hostile guests on this CPU")
    }
}
