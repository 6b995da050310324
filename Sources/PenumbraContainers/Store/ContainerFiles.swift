// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// One container's directory:
///
///     config.json   what it was created with
///     state.json    where it is in its life
///     state.room    while it runs: room on the disk for how it will have ended
///     lock          locked (flock) by the monitor as long as that lives; inherited from who starts it
///     disk.img      its writable layer: a sparse file with ext4
///     log/          what its main process wrote (LogDirectory)
///     boot.log      what its guest's kernel said, of the last run
struct ContainerFiles: Sendable {
    let path: String

    var configuration: String { path + "/config.json" }
    var state: String { path + "/state.json" }
    private var room: ReservedFile { ReservedFile(path: path + "/state.room") }
    var lock: String { path + "/lock" }
    var disk: String { path + "/disk.img" }
    var log: LogDirectory { LogDirectory(path: path + "/log") }
    var bootLog: String { path + "/boot.log" }

    func readConfiguration() throws -> ContainerConfiguration {
        try ContainerConfiguration(JSON(parsing: Files.read(configuration)))
    }

    func readState() throws -> ContainerState { try ContainerState(JSON(parsing: Files.read(state))) }

    func write(_ configuration: ContainerConfiguration) throws {
        try Files.writeDurably(Array(configuration.json.indented.utf8), to: self.configuration, mode: 0o600)
    }

    func write(_ state: ContainerState) throws {
        try Files.writeDurably(Array(state.json.indented.utf8), to: self.state, mode: 0o600)
    }

    /// Room for an end, in bytes: its reason may be bounded with an escape sequence for every byte.
    private static let roomForEnd = 6 * ContainerExit.reasonLimit + 4096

    /// From here on `write(end:)` works on a full disk too, once.
    func reserveEnd() throws { try room.reserve(Self.roomForEnd) }

    func write(end: ContainerExit) throws {
        let content = Array(ContainerState.exited(end.bounded).json.indented.utf8)
        if try room.become(state, with: content) { return }
        try Files.writeDurably(content, to: state, mode: 0o600)
    }

    /// The lock, if nobody has it and this is still the container's directory; nil: somebody has it.
    func tryLock() throws -> Descriptor? {
        let lock = try Descriptor(path: self.lock, flags: O_RDWR)
        guard lock.tryLock() else { return nil }
        try requireSame(lock)
        return lock
    }

    /// The lock, once nobody else has it.
    func waitForLock() throws -> Descriptor {
        let lock = try Descriptor(path: self.lock, flags: O_RDWR)
        lock.waitForLock()
        try requireSame(lock)
        return lock
    }

    /// A container may have been removed between the opening of its lock and the locking.
    private func requireSame(_ lock: Descriptor) throws {
        var (opened, named) = (stat(), stat())
        guard fstat(lock.number, &opened) == 0, stat(self.lock, &named) == 0,
            opened.st_ino == named.st_ino, opened.st_dev == named.st_dev
        else { throw SystemError(call: "open", subject: self.lock, code: ENOENT) }
    }
}
