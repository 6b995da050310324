// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// What process 1 finds and leaves.
enum VirtualMachine {
    static let layout = Layout(base: "/run/penumbra")
    private static let channelPath = "/dev/hvc1"

    /// File systems for the agent itself, its priority, and the channel to the VMM.
    static func start() throws(AgentFailure) -> Descriptor {
        try FileSystem.mount("proc", at: "/proc", type: "proc")
        try FileSystem.mount("sysfs", at: "/sys", type: "sysfs")
        try FileSystem.mount("devtmpfs", at: "/dev", type: "devtmpfs")
        try FileSystem.mount("tmpfs", at: "/run", type: "tmpfs")
        // Whoever uses up the memory, it is not the agent that goes.
        try FileSystem.write("-1000", to: "/proc/self/oom_score_adj")
        return try openChannel()
    }

    /// The console's driver answers a device of the VMM's, which takes a moment. Nobody writes to the
    /// channel before its hello, so nothing is lost or echoed before it is raw.
    private static func openChannel() throws(AgentFailure) -> Descriptor {
        let flags = O_RDWR | O_NOCTTY | O_NONBLOCK
        let channel = try FileSystem.waiting(for: channelPath) { () throws(SystemError) in
            try Descriptor(path: channelPath, flags: flags)
        }
        try FileSystem.check("making raw", channelPath) { Int(init_make_raw(channel.number)) }
        return channel
    }

    static func powerOff() -> Never {
        init_power_off()
        // A kernel that refuses has panicked when its first process is gone.
        exit(1)
    }
}

/// Where the agent keeps its mounts, apart from what the container sees.
struct Layout {
    let base: String
    /// All control groups, and the container's, which tests have several of.
    let groups: String
    let group: String

    init(base: String) {
        self.base = base
        groups = "\(base)/cgroup"
        group = getpid() == 1 ? "\(groups)/container" : "\(groups)/container.\(getpid())"
    }

    /// The image, the place for changes, and both together: the container's root.
    var image: String { "\(base)/image" }
    var changes: String { "\(base)/changes" }
    var root: String { "\(base)/root" }
    /// What is to be mounted within the container, by number.
    func mount(_ number: Int) -> String { "\(base)/mounts/\(number)" }
    /// Files that lie over the image, by number.
    func file(_ number: Int) -> String { "\(base)/files/\(number)" }
}
