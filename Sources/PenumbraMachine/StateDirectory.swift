// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// Where a machine keeps its files, and who may touch them:
///
///     lock          locked by the starting `penumbra`, then by QEMU, which inherits the open file:
///                   as long as the lock is held the machine exists; a crash of either frees it
///     pid           QEMU's process id, written by QEMU
///     settings      what the machine was started with
///     initramfs     the first root file system
///     data.img      the disk with images and containers, kept (DataDisk)
///     console.log   the kernel's console        debug.log   port 0xe9        qemu.log   QEMU's own words
///     agent.N       sockets of the agent's ports; agent.N.lock is held by the client that uses one
///     qmp           QEMU's control socket
public struct StateDirectory: Sendable {
    public static let defaultName = "default"
    public static let portCount = 16

    public let name: String
    public let path: String

    /// The directory of machine `name` below `root`, which defaults to PENUMBRA_STATE_DIR, then
    /// $XDG_STATE_HOME/penumbra, then ~/.local/state/penumbra.
    public init(name: String, root: String? = nil) throws(MachineError) {
        guard (1...32).contains(name.utf8.count), name.utf8.allSatisfy(Self.isNameCharacter) else {
            throw .badName(name)
        }
        guard let root = root ?? Self.defaultRoot() else { throw .noHome }
        self.name = name
        path = "\(root)/machine/\(name)"
        if file("agent.\(Self.portCount - 1).lock").utf8.count > LocalSocket.maximumPath {
            throw .pathTooLong(path)
        }
    }

    private static func isNameCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    private static func defaultRoot() -> String? {
        func directory(_ variable: String) -> String? {
            environmentVariable(variable).flatMap { $0.isEmpty ? nil : $0 }
        }
        return directory("PENUMBRA_STATE_DIR")
            ?? directory("XDG_STATE_HOME").map { $0 + "/penumbra" }
            ?? directory("HOME").map { $0 + "/.local/state/penumbra" }
    }

    public func file(_ name: String) -> String { "\(path)/\(name)" }
    public var consoleLog: String { file("console.log") }
    public var debugLog: String { file("debug.log") }
    public var qemuLog: String { file("qemu.log") }
    var dataDisk: String { file("data.img") }
    func socket(_ port: Int) -> String { file("agent.\(port)") }

    /// Whether QEMU, or somebody who starts it, holds the lock.
    public var isRunning: Bool {
        guard let lock = try? Descriptor(path: file("lock"), flags: O_RDWR) else { return false }
        return !lock.tryLock()
    }

    public var processID: Int32? {
        Files.text(file("pid")).flatMap { Int32($0.prefix { $0.isNumber }) }
    }

    /// Makes the directory, takes the machine's lock and clears what an earlier machine left.
    func claim() throws -> Descriptor {
        try Files.makeDirectories(path, mode: 0o700)
        let lock = try Descriptor(path: file("lock"), flags: O_RDWR | O_CREAT, mode: 0o600)
        guard lock.tryLock() else { throw MachineError.alreadyRunning(name, pid: processID) }
        removeRuntimeFiles()
        for log in [consoleLog, debugLog, qemuLog] { Files.remove(log) }
        return lock
    }

    /// Removes what only a running machine needs; the logs stay.
    func removeRuntimeFiles() {
        for name in ["pid", "qmp", "settings", "initramfs"] { Files.remove(file(name)) }
        for port in 0..<Self.portCount { Files.remove(socket(port)) }
    }

    /// Names of the machines that have a directory below the default root.
    public static func allNames() -> [String] { defaultRoot().map { Files.list($0 + "/machine") } ?? [] }
}
