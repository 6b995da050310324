// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraImages
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM

/// What `run` and `create` have in common: how a container is to be. Docker's names.
struct ContainerOptions: ParsableArguments {
    @Option(help: "The container's name; else one is made up.")
    var name: String?

    @Flag(name: [.short, .long], help: "Keep the program's input open.")
    var interactive = false

    @Flag(name: [.short, .long], help: "Give the program a terminal.")
    var tty = false

    @Flag(name: .customLong("rm"), help: "Remove the container when it has ended.")
    var isRemovedAtEnd = false

    @Option(
        name: [.short, .long], parsing: .singleValue,
        help: "NAME=VALUE for the program's environment, or NAME, whose value is ours; repeat for more.")
    var env: [String] = []

    @Option(parsing: .singleValue, help: "A file with a NAME=VALUE or NAME a line.", completion: .file())
    var envFile: [String] = []

    @Option(name: [.short, .long], help: "USER, USER:GROUP, by name or number.")
    var user: String?

    @Option(name: [.short, .long], help: "The program's working directory.")
    var workdir: String?

    @Option(help: "The program, in place of the image's; '' for none.")
    var entrypoint: String?

    @Option(help: "The container's host name; else the beginning of its id.")
    var hostname: String?

    @Flag(help: "Nothing can be written outside of --tmpfs.")
    var readOnly = false

    @Option(
        parsing: .singleValue,
        help: "PATH[:size=64m,mode=1777], an empty file system in memory; repeat for more.")
    var tmpfs: [String] = []

    @Option(
        name: [.short, .long], parsing: .singleValue,
        help: "SOURCE:PATH[:ro], a volume by its name, or a directory of the host's; repeat for more.")
    var volume: [String] = []

    @Option(
        parsing: .singleValue,
        help:
            "type=volume|bind|tmpfs,source=SOURCE,target=PATH[,readonly], the same in many words; repeat for more."
    )
    var mount: [String] = []

    @Option(parsing: .singleValue, help: "A capability to add, or ALL.")
    var capAdd: [String] = []

    @Option(parsing: .singleValue, help: "A capability to drop, or ALL.")
    var capDrop: [String] = []

    @Option(parsing: .singleValue, help: "NAME=SOFT[:HARD], as in nofile=1024:4096.")
    var ulimit: [String] = []

    @Option(name: [.short, .long], parsing: .singleValue, help: "NAME=VALUE, to be kept with the container.")
    var label: [String] = []

    @Option(
        parsing: .singleValue,
        help: "max-size=10m or max-file=3: how long a file of the log becomes, and how many are kept.")
    var logOpt: [String] = []

    @Option(name: [.short, .long], help: "The guest's memory.")
    var memory = "256M"

    @Option(help: "Virtual CPUs, \(XenGuest.cpuRange.lowerBound) to \(XenGuest.cpuRange.upperBound).")
    var cpus = "1"

    @Option(help: "none: loopback only; user: the host's network, through passt.")
    var network = ContainerConfiguration.Network.none

    @Option(
        name: [.short, .long], parsing: .singleValue,
        help: "[ADDRESS:]HOST:GUEST[/udp], a port of the host that leads to the container; repeat for more.")
    var publish: [String] = []

    @Option(help: "What 'penumbra stop' sends: a signal's name or number.")
    var stopSignal: String?

    @Option(
        help:
            "The guest's kernel: its release, a kind that the build has (6.1, 6.1-cloud, 6.12), or its path.",
        completion: .file())
    var kernel: String?

    func validate() throws {
        if let name { _ = try ContainerName(name) }
        _ = try MemorySize(memory)
        _ = try cpuCount()
        if let hostname { try Self.check(hostname: hostname) }
        if let workdir, !workdir.hasPrefix("/") {
            throw ValidationError("--workdir: '\(workdir)' is no absolute path")
        }
        _ = try mounts()
        if let port = publish.first(where: { PublishedPort($0) == nil }) {
            throw ValidationError("--publish: '\(port)' is no [ADDRESS:]HOST:GUEST[/udp]")
        }
        guard publish.isEmpty || network == .user else {
            throw ValidationError("--publish needs --network user")
        }
        _ = try capabilities()
        _ = try limits()
        _ = try labels()
        _ = try LogLimits(options: logOpt)
        _ = try environment { _ in nil }
        if let stopSignal { _ = try SignalName.number(stopSignal) }
    }

    /// A whole number: "2", or "2.0" as others write it.
    func cpuCount() throws -> Int {
        guard let count = Double(cpus).flatMap(Int.init(exactly:)), XenGuest.cpuRange.contains(count) else {
            let limit = XenGuest.cpuRange.upperBound
            throw ValidationError("--cpus: a guest has 1 to \(limit) whole CPUs, not '\(cpus)'")
        }
        return count
    }

    /// RFC 1123.
    private static func check(hostname: String) throws {
        let labels = hostname.split(separator: ".", omittingEmptySubsequences: false)
        let isSound = labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && !label.hasPrefix("-") && !label.hasSuffix("-")
                && label.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }
        }
        guard isSound, hostname.utf8.count <= 64 else {
            throw ValidationError("--hostname: '\(hostname)' is no host's name")
        }
    }

    func capabilities() throws -> Capabilities {
        func parse(_ option: String, _ names: [String]) throws -> Capabilities {
            try names.reduce(into: []) { set, name in
                guard let capability = Capabilities(name: name) else {
                    throw ValidationError("\(option): there is no capability '\(name)'")
                }
                set.formUnion(capability)
            }
        }
        let added = try parse("--cap-add", capAdd)
        let dropped = try parse("--cap-drop", capDrop)
        // What is named goes before ALL, on either side.
        if dropped == .all { return added }
        return Capabilities.standard.union(added).subtracting(dropped)
    }

    /// Where the options name them: in memory, and of the host's.
    func mounts() throws -> (
        memory: [ContainerConfiguration.MemoryMount], volumes: [ContainerConfiguration.VolumeMount]
    ) {
        let others = try mount.map { try MountOption($0) }
        let memory = try tmpfs.map { try TemporaryMount($0).mount } + others.compactMap(\.memory)
        let volumes = try volume.map { try MountOption(volume: $0) } + others
        let mounts = (memory, volumes.compactMap(\.volume))
        let targets = mounts.0.map(\.target) + mounts.1.map(\.target)
        guard Set(targets).count == targets.count else {
            throw ValidationError("two mounts have the same place in the container: give each its own")
        }
        return mounts
    }

    /// The volumes as options once more. What is a directory out here is none in the machine.
    func volumesForMachine() throws -> [String] {
        try mounts().volumes.map { mount in
            guard case .volume(let name) = mount.source else {
                throw ContainerError.badOption(
                    "--volume",
                    reason:
                        "the machine does not see \(mount.source.text), which is this host's: use a volume's name"
                )
            }
            return "\(name.text):\(mount.target)" + (mount.isReadOnly ? ":ro" : "")
        }
    }

    func limits() throws -> [ContainerConfiguration.Limit] {
        try ulimit.map { text in
            guard let limit = ResourceLimit(text) else {
                throw ValidationError("--ulimit: '\(text)' is no NAME=SOFT[:HARD], such as nofile=1024:4096")
            }
            return .init(name: limit.resource.name, soft: limit.soft, hard: limit.hard)
        }
    }

    func labels() throws -> [String: String] {
        try label.reduce(into: [:]) { labels, text in
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = parts.first, !name.isEmpty else {
                throw ValidationError("--label: '\(text)' is no NAME=VALUE")
            }
            labels[String(name)] = parts.count > 1 ? String(parts[1]) : ""
        }
    }

    /// NAME=VALUE each, files first; a NAME alone has `lookup`'s value, or is left out.
    func environment(lookup: (String) -> String?) throws -> [String] {
        try (envFile.flatMap(Self.lines) + env).compactMap { text in
            guard let name = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).first,
                !name.isEmpty, !name.contains(where: \.isWhitespace)
            else { throw ValidationError("--env: '\(text)' is no NAME=VALUE, nor a NAME") }
            if text.utf8.contains(UInt8(ascii: "=")) { return text }
            return lookup(text).map { "\(text)=\($0)" }
        }
    }

    private static func lines(of file: String) throws -> [String] {
        String(decoding: try Files.read(file), as: UTF8.self).split(whereSeparator: \.isNewline)
            .map { String($0.drop(while: \.isWhitespace)) }.filter { !$0.isEmpty && !$0.hasPrefix("#") }
    }
}

extension ContainerConfiguration.Network: ExpressibleByArgument {}

/// "/run:size=64m,mode=755"
struct TemporaryMount {
    let mount: ContainerConfiguration.MemoryMount

    init(_ text: String) throws {
        let parts = text.split(separator: ":", maxSplits: 1)
        guard let target = parts.first, target.hasPrefix("/") else {
            throw ValidationError("--tmpfs: '\(text)' does not begin with an absolute path")
        }
        var mount = ContainerConfiguration.MemoryMount(target: String(target))
        for option in parts.dropFirst().flatMap({ $0.split(separator: ",") }) {
            let words = option.split(separator: "=", maxSplits: 1)
            switch (words.first, words.count) {
            case ("size", 2): mount.limit = try ByteSize(words[1], of: "--tmpfs").bytes
            case ("mode", 2):
                guard let mode = UInt32(words[1], radix: 8), mode <= 0o7777 else {
                    throw ValidationError("--tmpfs: '\(words[1])' is no mode")
                }
                mount.permissions = mode
            default: throw ValidationError("--tmpfs: 'size' and 'mode' are known, not '\(option)'")
            }
        }
        self.mount = mount
    }
}

/// "data:/srv:ro", or "type=volume,source=data,target=/srv,readonly"
enum MountOption {
    case inMemory(ContainerConfiguration.MemoryMount)
    case ofTheHost(ContainerConfiguration.VolumeMount)

    var memory: ContainerConfiguration.MemoryMount? {
        if case .inMemory(let mount) = self { mount } else { nil }
    }
    var volume: ContainerConfiguration.VolumeMount? {
        if case .ofTheHost(let mount) = self { mount } else { nil }
    }

    init(volume text: String) throws {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map { String($0) }
        guard (2...3).contains(parts.count), let source = Source(parts[0]), Self.isPlace(parts[1]),
            parts.count == 2 || ["ro", "rw"].contains(parts[2])
        else {
            throw ValidationError(
                "--volume: '\(text)' is no SOURCE:PATH[:ro], with a volume's name or an absolute path, and an absolute path"
            )
        }
        self = .ofTheHost(.init(source, target: parts[1], isReadOnly: parts.count == 3 && parts[2] == "ro"))
    }

    private typealias Source = ContainerConfiguration.VolumeMount.Source

    /// Docker's keys, and their other names.
    init(_ text: String) throws {
        var values: [String: String] = [:]
        for part in text.split(separator: ",") {
            let words = part.split(separator: "=", maxSplits: 1).map { String($0) }
            let key = ["src": "source", "dst": "target", "destination": "target", "ro": "readonly"][words[0]]
            values[key ?? words[0]] = words.count > 1 ? words[1] : ""
        }
        func bad(_ reason: String) -> ValidationError { ValidationError("--mount: '\(text)' \(reason)") }
        guard let target = values.removeValue(forKey: "target"), Self.isPlace(target) else {
            throw bad("has no target=PATH that is absolute")
        }
        let type = values.removeValue(forKey: "type") ?? "volume"
        let flag = values.removeValue(forKey: "readonly")
        guard flag.map({ ["", "true", "false"].contains($0) }) ?? true else {
            throw bad("has a readonly of its own")
        }
        let source = values.removeValue(forKey: "source").flatMap { Source($0) }
        if let unknown = values.keys.min() { throw bad("has '\(unknown)', which is not known") }
        switch (type, source) {
        case ("tmpfs", nil) where flag == nil: self = .inMemory(.init(target: target))
        case ("volume", .volume(_)?), ("bind", .directory(_)?):
            self = .ofTheHost(.init(source!, target: target, isReadOnly: flag.map { $0 != "false" } ?? false))
        default: throw bad("is no volume by its name, no bind of an absolute path, and no tmpfs")
        }
    }

    /// Absolute, and neither the root nor a path that leads back.
    private static func isPlace(_ path: String) -> Bool {
        path.hasPrefix("/") && path.contains { $0 != "/" } && !path.split(separator: "/").contains("..")
    }
}

/// Signals by number, or by name with or without "SIG".
enum SignalName {
    private static let numbers: [String: Int32] = [
        "HUP": SIGHUP, "INT": SIGINT, "QUIT": SIGQUIT, "ILL": SIGILL, "TRAP": SIGTRAP, "ABRT": SIGABRT,
        "BUS": SIGBUS, "FPE": SIGFPE, "KILL": SIGKILL, "USR1": SIGUSR1, "SEGV": SIGSEGV, "USR2": SIGUSR2,
        "PIPE": SIGPIPE, "ALRM": SIGALRM, "TERM": SIGTERM, "STKFLT": 16, "CHLD": SIGCHLD, "CONT": SIGCONT,
        "STOP": SIGSTOP, "TSTP": SIGTSTP, "TTIN": SIGTTIN, "TTOU": SIGTTOU, "URG": SIGURG, "XCPU": SIGXCPU,
        "XFSZ": SIGXFSZ, "VTALRM": SIGVTALRM, "PROF": SIGPROF, "WINCH": SIGWINCH, "IO": SIGIO, "PWR": SIGPWR,
        "SYS": SIGSYS,
    ]

    static func number(_ text: String) throws -> Int32 {
        let name = text.uppercased()
        let bare = name.hasPrefix("SIG") ? String(name.dropFirst(3)) : name
        if let number = numbers[bare] { return number }
        // signal(7): 64 of them.
        guard let number = Int32(text), (1...64).contains(number) else {
            throw ValidationError("'\(text)' is no signal: use a name such as TERM, or 1 to 64")
        }
        return number
    }
}
