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

    /// Each kernel in each way to boot it, with one CPU and two.
    static let all = ["6.1", "6.12"].flatMap { kernel in
        [1, 2].flatMap { cpus in [plain(kernel, cpus), isolated(kernel, cpus), relocated(kernel, cpus)] }
    }

    /// A processor that Linux takes to survive errors in memory. They come to all CPUs at once; an emulated
    /// one may be late, so the others wait longer. And it warns of Retbleed, which is no complaint here.
    static func recovering(_ kernel: String, _ cpus: Int) -> MachineKind {
        MachineKind(
            testDescription: "Linux \(kernel), CPUs: \(cpus), machine checks as Intel's", kernel: kernel,
            core: "release", cpus: cpus, commandLine: "mce=30000000 retbleed=off penumbra.barriers=cpu",
            processor: "max,vendor=GenuineIntel,family=6,model=85")
    }

    static func plain(_ kernel: String, _ cpus: Int) -> MachineKind {
        MachineKind(
            testDescription: "Linux \(kernel), CPUs: \(cpus)", kernel: kernel, core: "release", cpus: cpus)
    }

    static func isolated(_ kernel: String, _ cpus: Int) -> MachineKind {
        MachineKind(
            testDescription: "Linux \(kernel), CPUs: \(cpus), pti=on, barriers", kernel: kernel,
            core: "release", cpus: cpus, commandLine: "pti=on \(MachineKind.barriers)")
    }

    static func relocated(_ kernel: String, _ cpus: Int) -> MachineKind {
        MachineKind(
            testDescription: "Linux \(kernel), CPUs: \(cpus), bzImage: KASLR and LA57, pti=on",
            kernel: kernel, core: "release", boot: "bzimage", cpus: cpus, commandLine: "pti=on")
    }
}
