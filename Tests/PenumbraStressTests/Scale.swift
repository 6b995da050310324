// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport

/// How much stress: what fits continuous integration, or (PENUMBRA_STRESS=1) all of it.
enum Scale {
    static let isFull = ProcessInfo.processInfo.environment["PENUMBRA_STRESS"] == "1"
    /// How long guests run beside a kind of stress.
    static let seconds = isFull ? 60 : 6
    static let kills = isFull ? 200 : 25
    static let hotplugs = isFull ? 60 : 6
    static let eventRounds = isFull ? 2000 : 60

    static func kinds(_ representative: [MachineKind]) -> [MachineKind] { isFull ? all : representative }

    /// Each kernel in each way to boot it, with one CPU and two.
    private static let all = ["6.1", "6.12"].flatMap { kernel in
        [1, 2].flatMap { cpus in [plain(kernel, cpus), isolated(kernel, cpus), relocated(kernel, cpus)] }
    }

    static func plain(_ kernel: String, _ cpus: Int) -> MachineKind {
        MachineKind(
            testDescription: "Linux \(kernel), CPUs: \(cpus)", kernel: kernel, core: "release", cpus: cpus)
    }

    static func isolated(_ kernel: String, _ cpus: Int) -> MachineKind {
        MachineKind(
            testDescription: "Linux \(kernel), CPUs: \(cpus), pti=on", kernel: kernel, core: "release",
            cpus: cpus, commandLine: "pti=on")
    }

    static func relocated(_ kernel: String, _ cpus: Int) -> MachineKind {
        MachineKind(
            testDescription: "Linux \(kernel), CPUs: \(cpus), bzImage: KASLR and LA57, pti=on",
            kernel: kernel, core: "release", boot: "bzimage", cpus: cpus, commandLine: "pti=on")
    }
}
