// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// What a child of the agent does between fork and exec, as an image of the agent in a process of its
/// own. It reports over `status`: a terminal's descriptor, then nothing more if all went well (the
/// socket closes with exec), else a failure.
struct Child {
    /// How it gets into the container.
    enum Entry {
        /// The main process makes the container's namespaces its home.
        case create(Container)
        /// The others go where it is.
        case join(mainProcess: Descriptor, Container)
    }

    enum Job {
        case program(ProcessSpec)
        case pack([UInt8], followsLink: Bool)
        case unpack([UInt8], CopyPlacement)
    }

    let entry: Entry
    let job: Job
    /// Its ends of the streams; none with a terminal.
    let streams: [Descriptor]
    let status: Descriptor

    func run() -> Never {
        do throws(AgentFailure) { try become() } catch {
            let report = [error.kind.rawValue] + Array(error.reason.utf8)
            _ = try? status.write(report)
        }
        // Neither buffers nor descriptors of the agent's are this process's business.
        _exit(1)
    }

    private var container: Container {
        switch entry {
        case .create(let container), .join(_, let container): container
        }
    }

    private func become() throws(AgentFailure) {
        closeAgentsDescriptors()
        try FileSystem.check("setting", "signals") { Int(init_default_signals()) }
        try FileSystem.check("setsid", "") { Int(setsid()) }
        umask(0o022)
        try enter()
        switch job {
        case .program(let spec): try become(spec)
        case .pack(let path, let followsLink):
            try copy { (errors) in Packing.run(path, followsLink: followsLink, errors) }
        case .unpack(let path, let placement):
            try copy { (errors) in Unpacking.run(path, placement, errors) }
        }
    }

    /// They would be closed by exec. But before that the container's processes see this one, and those
    /// that may trace it, its descriptors.
    private func closeAgentsDescriptors() {
        var kept = streams.map { $0.number } + [status.number]
        if case .join(let mainProcess, _) = entry { kept.append(mainProcess.number) }
        var first = STDERR_FILENO + 1
        for number in kept.sorted() where number >= first {
            if number > first { init_close_range(UInt32(first), UInt32(number - 1)) }
            first = number + 1
        }
        init_close_range(UInt32(first), .max)
    }

    // MARK: Into the container

    private static let namespaces = Int32(
        INIT_NEW_MOUNTS | INIT_NEW_NAMES | INIT_NEW_IPC | INIT_NEW_CGROUP)

    private func enter() throws(AgentFailure) {
        // The agent's own is never to be killed for memory; and this path is the agent's.
        try FileSystem.write("0", to: "/proc/self/oom_score_adj")
        try ControlGroup.join(container.layout)
        switch entry {
        case .create(let container):
            try FileSystem.check("unshare", "the container") { Int(init_unshare(Self.namespaces)) }
            let name = container.spec.hostname
            try FileSystem.check("sethostname", name) { Int(init_set_host_name(name, name.utf8.count)) }
            try ContainerRoot(container: container).enter()
        case .join(let mainProcess, _):
            try FileSystem.check("setns", "the container") {
                Int(init_setns(mainProcess.number, Self.namespaces))
            }
        }
    }

    // MARK: Programs

    private func become(_ spec: ProcessSpec) throws(AgentFailure) {
        let account = try Account(
            spec.user, passwd: Files.text("/etc/passwd") ?? "", group: Files.text("/etc/group") ?? "")
        if let size = spec.terminal {
            try takeTerminal(size, owner: account.user)
        } else {
            try takeStreams(owner: account.user)
        }
        try enterDirectory(spec.directory)
        for limit in spec.limits {
            try FileSystem.check("setting the limit", limit.resource.name) {
                Int(init_set_limit(Int32(limit.resource.rawValue), limit.soft, limit.hard))
            }
        }
        let environment = Environment(spec, home: account.home, hostname: container.spec.hostname)
        try take(account, spec)
        throw Execution.run(spec.arguments, environment)
    }

    /// Pipes belong to whoever uses them, who may open them again by their names in /dev.
    private func takeStreams(owner: UInt32) throws(AgentFailure) {
        for (number, stream) in streams.enumerated() {
            try FileSystem.check("fchown", "a stream") { Int(fchown(stream.number, owner, .max)) }
            try FileSystem.check("dup2", "a stream") { Int(dup2(stream.number, Int32(number))) }
        }
    }

    private func takeTerminal(_ size: TerminalSize, owner: UInt32) throws(AgentFailure) {
        var (master, slave) = (Int32(-1), Int32(-1))
        try FileSystem.check("opening", "a terminal") {
            Int(init_open_terminal("/dev/pts/ptmx", &master, &slave))
        }
        let terminal = Descriptor(adopting: slave)
        try FileSystem.check("setting up", "the terminal") {
            if init_set_window_size(slave, size.rows, size.columns) != 0 || fchown(slave, owner, 5) != 0 {
                return -1
            }
            return init_control_terminal(slave) == 0 && init_send_descriptor(status.number, master) == 0
                ? 0 : -1
        }
        close(master)
        if case .create = entry { try DeviceDirectory.makeConsole(terminal) }
        for number in 0...2 { try FileSystem.check("dup2", "") { Int(dup2(slave, Int32(number))) } }
    }

    private func enterDirectory(_ path: String) throws(AgentFailure) {
        try FileSystem.makeDirectories(path.isEmpty ? "/" : path)
        try FileSystem.check("chdir", path) { Int(chdir(path.isEmpty ? "/" : path)) }
    }

    /// From here on with no more rights than the program will have.
    private func take(_ account: Account, _ spec: ProcessSpec) throws(AgentFailure) {
        let capabilities = spec.capabilities.rawValue
        try FileSystem.check("setgroups", "") { Int(init_set_groups(account.groups, account.groups.count)) }
        try FileSystem.check("setgid", "\(account.group)") { Int(setgid(account.group)) }
        if spec.hasNoNewPrivileges {
            try FileSystem.check("prctl", "no_new_privs") { Int(init_set_no_new_privileges()) }
        }
        // Root keeps none but these. Others lose theirs with their user, which takes a capability itself.
        if account.user == 0 {
            try FileSystem.check("setting", "capabilities") { Int(init_set_capabilities(capabilities)) }
        } else {
            try FileSystem.check("setting", "the bounding set") { Int(init_bound_capabilities(capabilities)) }
            try FileSystem.check("setuid", "\(account.user)") { Int(setuid(account.user)) }
        }
    }

    // MARK: Copies

    /// Closes what exec would have closed, by which the agent knows that it came so far.
    private func copy(_ body: (_ errors: Descriptor) -> Bool) throws(AgentFailure) {
        try takeStreams(owner: 0)
        init_close_range(UInt32(STDERR_FILENO + 1), .max)
        _exit(body(Descriptor(adopting: STDERR_FILENO)) ? 0 : 1)
    }
}
