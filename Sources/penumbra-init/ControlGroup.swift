// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// The control group that all processes of the container are in (cgroups(7), version 2).
enum ControlGroup {
    static func create(_ layout: Layout) throws(AgentFailure) {
        try FileSystem.mount("cgroup2", at: layout.groups, type: "cgroup2")
        let controllers = Files.text("\(layout.groups)/cgroup.controllers") ?? ""
        for controller in controllers.split(whereSeparator: { $0 == " " || $0 == "\n" }) {
            try FileSystem.write("+\(controller)", to: "\(layout.groups)/cgroup.subtree_control")
        }
        try FileSystem.makeDirectories(layout.group)
    }

    /// Puts the calling process there.
    static func join(_ layout: Layout) throws(AgentFailure) {
        try FileSystem.write("0", to: "\(layout.group)/cgroup.procs")
    }

    /// How many of its processes the kernel has killed because memory ran out.
    static func killedForMemory(_ layout: Layout) -> Int {
        let events = Files.text("\(layout.group)/memory.events") ?? ""
        for line in events.split(separator: "\n") where line.hasPrefix("oom_kill ") {
            return Int(line.dropFirst("oom_kill ".count)) ?? 0
        }
        return 0
    }

    static func remove(_ layout: Layout) {
        rmdir(layout.group)
        _ = init_unmount(layout.groups)
    }
}
