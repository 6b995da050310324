// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// A container as the store knows it at one moment.
public struct Container: Equatable, Sendable {
    public let configuration: ContainerConfiguration
    public let state: ContainerState

    public init(configuration: ContainerConfiguration, state: ContainerState) {
        (self.configuration, self.state) = (configuration, state)
    }

    public var id: ContainerID { configuration.id }
    public var name: String { configuration.name.text }
}

/// All containers of a data directory, a directory each, and no daemon:
///
///     lock             held (flock) while a name is taken, or a directory comes or goes
///     <id>/            a container (ContainerFiles)
///     .new-<id>/       one that is being made; its maker holds its lock
///     .removed-<id>/   one that is being removed
///
/// A container appears by the rename of its whole directory and goes the same way, so whoever is killed
/// in between leaves a directory that is none; the next to take the store's lock removes it. A
/// container whose state says that it runs, and whose lock is free, does not: its monitor was killed,
/// or the host lost its power. Whoever finds that writes it down, holding the container's lock.
public struct ContainerStore: Sendable {
    private static let newPrefix = ".new-"
    private static let removedPrefix = ".removed-"

    public let path: String
    /// How long a monitor may take to say farewell, with its container's end written down, in seconds.
    var farewellPatience = 6.0

    public init(path: String) throws {
        self.path = path
        try Files.makeDirectories(path, mode: 0o700)
    }

    public init(_ data: DataDirectory) throws { try self.init(path: data.containers) }

    func files(_ id: ContainerID) -> ContainerFiles { ContainerFiles(path: "\(path)/\(id)") }

    // MARK: Reading

    /// All containers, the latest first. One that is damaged is passed to `complain` and left out.
    public func list(complain: (String) -> Void = { _ in }) -> [Container] {
        ids().compactMap { id in
            do { return try container(id) } catch ContainerError.unknown {
                return nil
            } catch {
                complain("\(error)")
                return nil
            }
        }.sorted { $0.configuration.created > $1.configuration.created }
    }

    private func ids() -> [ContainerID] { Files.list(path).compactMap(ContainerID.init) }

    /// By name, id, or the beginning of an id; a name goes before an id that begins the same.
    public func find(_ reference: String) throws -> Container {
        if let id = ContainerID(reference) { return try container(id) }
        let containers = list()
        if let named = containers.first(where: { $0.name == reference }) { return named }
        let matches = ids().filter { !reference.isEmpty && $0.text.hasPrefix(reference) }
        guard let id = matches.first else { throw ContainerError.unknown(reference) }
        guard matches.count == 1 else {
            throw ContainerError.ambiguous(reference, count: matches.count)
        }
        return try container(id)
    }

    /// The id behind a reference, also of a container that is damaged, if the reference is its id's.
    public func id(of reference: String) throws -> ContainerID {
        do { return try find(reference).id } catch ContainerError.damaged {
            let matches = ids().filter { $0.text.hasPrefix(reference) }
            guard matches.count == 1 else { throw ContainerError.unknown(reference) }
            return matches[0]
        }
    }

    /// Reads a container, and writes down the end of one whose monitor is gone.
    public func container(_ id: ContainerID) throws -> Container {
        let files = files(id)
        do {
            let configuration = try files.readConfiguration()
            let state = try files.readState()
            guard state.isRunning, let lock = try files.tryLock() else {
                return Container(configuration: configuration, state: state)
            }
            // Read again: the monitor may have written its last word before it let go of the lock.
            let recovered = try withExtendedLifetime(lock) { try recover(files) }
            return Container(configuration: configuration, state: recovered)
        } catch let error as SystemError where error.code == ENOENT {
            throw Files.exists(files.path)
                ? ContainerError.damaged(id.short, reason: "\(error)") : ContainerError.unknown(id.text)
        } catch let error as JSON.Problem {
            throw ContainerError.damaged(id.short, reason: "\(error)")
        } catch let error as JSONField.Problem {
            throw ContainerError.damaged(id.short, reason: "\(error)")
        }
    }

    /// For a container's monitor, which has its lock already.
    func container(holdingLockOf id: ContainerID) throws -> Container {
        let files = files(id)
        return Container(configuration: try files.readConfiguration(), state: try recover(files))
    }

    /// The state as it is, known to whoever holds the container's lock.
    private func recover(_ files: ContainerFiles) throws -> ContainerState {
        let state = try files.readState()
        guard case .running(let since, _, let boot) = state else { return state }
        let sameBoot = boot == HostBoot.identifier
        let recovered = ContainerExit(
            started: since, finished: .now, code: sameBoot ? 128 + SIGKILL : ContainerExit.lostCode,
            reason: sameBoot ? "its VM's process was killed on the host" : "the host went down while it ran")
        try files.write(end: recovered)
        return .exited(recovered)
    }

    // MARK: Creating

    /// Makes a container. `populate` makes its disk, with the path that it is to have; what it throws
    /// leaves nothing of the container.
    public func create(
        _ configuration: ContainerConfiguration, populate: (_ disk: String) throws -> Void
    ) throws {
        let making = ContainerFiles(path: "\(path)/\(Self.newPrefix)\(configuration.id)")
        let lock = try locked { () throws -> Descriptor in
            try sweep()
            try requireFree(configuration.name)
            try Files.makeDirectories(making.path, mode: 0o700)
            let lock = try Descriptor(path: making.lock, flags: O_RDWR | O_CREAT, mode: 0o600)
            lock.waitForLock()
            return lock
        }
        do {
            try making.write(configuration)
            try making.write(ContainerState.created)
            try populate(making.disk)
            try locked {
                // Again: making a disk takes a while, and the name was not ours yet.
                try requireFree(configuration.name)
                let path = files(configuration.id).path
                try retrying("rename", path) { Int(rename(making.path, path)) }
                try Files.syncDirectory(of: path)
            }
        } catch {
            try? Files.removeTree(making.path)
            throw error
        }
        withExtendedLifetime(lock) {}
    }

    /// A name for a container that nobody named.
    public func freeName() -> ContainerName {
        let taken = Set(list().map(\.name))
        while true {
            let name = ContainerName.random()
            if !taken.contains(name.text) { return name }
            // All pairs may be taken one day.
            if let longer = try? ContainerName("\(name)_\(UInt16.random(in: .min ... .max))"),
                !taken.contains(longer.text)
            {
                return longer
            }
        }
    }

    /// Refuses a name that a container has.
    public func requireFree(_ name: ContainerName) throws {
        if let other = list().first(where: { $0.name == name.text }) {
            throw ContainerError.nameInUse(name.text, by: other.id)
        }
    }

    // MARK: Removing

    /// Removes a container that does not run. Of two who try, one does, and the other finds none.
    public func remove(_ id: ContainerID) throws {
        guard let lock = try lockOfStopped(id) else { throw ContainerError.running(try name(of: id)) }
        try remove(id, holding: lock)
    }

    /// The container's lock; nil: it runs. Who holds it without running is about to let go, or to run; a
    /// monitor that was killed closes its connections before the lock.
    func lockOfStopped(_ id: ContainerID) throws -> Descriptor? {
        let deadline = monotonicSeconds() + farewellPatience
        while true {
            if let lock = try lock(id) { return lock }
            if case .running(_, let process, _)? = try? files(id).readState(), RunningProcess.lives(process) {
                return nil
            }
            guard monotonicSeconds() < deadline else {
                throw ContainerError.ending(try name(of: id), seconds: farewellPatience)
            }
            usleep(10_000)
        }
    }

    /// Removes a container whose lock the caller holds.
    func remove(_ id: ContainerID, holding lock: Descriptor) throws {
        let removed = "\(path)/\(Self.removedPrefix)\(id)"
        try locked {
            try retrying("rename", removed) { Int(rename(files(id).path, removed)) }
            try Files.syncDirectory(of: removed)
        }
        withExtendedLifetime(lock) {}
        try Files.removeTree(removed)
    }

    /// A damaged container has no name any more.
    private func name(of id: ContainerID) throws -> String { (try? container(id).name) ?? id.short }

    /// The container's lock; nil: it runs.
    func lock(_ id: ContainerID) throws -> Descriptor? {
        do { return try files(id).tryLock() } catch let error as SystemError where error.code == ENOENT {
            throw ContainerError.unknown(id.text)
        }
    }

    /// Returns when nobody holds the container's lock any more, or it is gone.
    public func waitUntilStopped(_ id: ContainerID) throws {
        do { _ = try waitForLock(id) } catch ContainerError.unknown {}
    }

    /// The container's lock, once nobody has it.
    func waitForLock(_ id: ContainerID) throws -> Descriptor {
        do { return try files(id).waitForLock() } catch let error as SystemError where error.code == ENOENT {
            throw ContainerError.unknown(id.text)
        }
    }

    // MARK: The store's lock

    /// Runs `body` while no container appears or goes.
    func locked<Result>(_ body: () throws -> Result) throws -> Result {
        let lock = try Descriptor(path: path + "/lock", flags: O_RDWR | O_CREAT, mode: 0o600)
        lock.waitForLock()
        return try withExtendedLifetime(lock, body)
    }

    /// Removes what was left by those who were killed.
    private func sweep() throws {
        for name in Files.list(path) {
            let leftover = "\(path)/\(name)"
            if name.hasPrefix(Self.removedPrefix) {
                try Files.removeTree(leftover)
            } else if name.hasPrefix(Self.newPrefix), isAbandoned(ContainerFiles(path: leftover)) {
                try Files.removeTree(leftover)
            }
        }
    }

    /// Whoever makes a container holds its lock from before we could take the store's.
    private func isAbandoned(_ files: ContainerFiles) -> Bool {
        guard let lock = try? Descriptor(path: files.lock, flags: O_RDWR) else { return true }
        return lock.tryLock()
    }
}

/// This boot of the host, as opposed to earlier ones.
enum HostBoot {
    static let identifier =
        (Files.text("/proc/sys/kernel/random/boot_id") ?? "unknown").split(whereSeparator: \.isWhitespace)
        .first.map(String.init) ?? "unknown"
}
