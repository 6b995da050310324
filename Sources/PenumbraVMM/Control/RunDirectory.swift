// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraJail
import PenumbraSystem

/// Where a user's running VMs are found by name:
///
///     lock       held while a name is taken
///     vm/NAME    the socket of that VM's process, which serves it (see GuestControl)
///     jail       an empty directory, on which each VM's process builds a root of its own (see Jail)
///
/// A process that is killed leaves its socket behind. Nobody accepts a connection to that, by which it
/// is known; whoever next takes a name or lists them removes it. No process id is trusted.
public struct RunDirectory: Sendable {
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case nameTaken(String)
        case notRunning(String)
        case notOurs(String)

        public var description: String {
            switch self {
            case .nameTaken(let name):
                "a VM '\(name)' is already running: give another --name, or stop it with 'penumbra stop \(name)'"
            case .notRunning(let name): "no VM '\(name)' is running: 'penumbra ps' lists those that are"
            case .notOurs(let path):
                "\(path) belongs to another user or is open to others: remove it, or set PENUMBRA_RUN_DIR"
            }
        }
    }

    public let path: String

    /// PENUMBRA_RUN_DIR; else for root /run/penumbra, for others $XDG_RUNTIME_DIR/penumbra, or a
    /// directory of their own in /tmp.
    public init(path: String? = nil) {
        func directory(_ variable: String) -> String? {
            environmentVariable(variable).flatMap { $0.isEmpty ? nil : $0 }
        }
        self.path =
            path ?? directory("PENUMBRA_RUN_DIR")
            ?? (geteuid() == 0 ? "/run/penumbra" : nil)
            ?? directory("XDG_RUNTIME_DIR").map { $0 + "/penumbra" } ?? "/tmp/penumbra-run-\(geteuid())"
    }

    private var sockets: String { path + "/vm" }

    private var jail: String { path + "/jail" }

    private func socket(_ name: String) -> String { "\(sockets)/\(name)" }

    /// Makes a VM known by its name.
    func claim(_ name: GuestName) throws -> Registration {
        try Files.makeDirectories(sockets, mode: 0o700)
        try requireOwn()
        return try locked {
            removeStale()
            let path = socket(name.text)
            guard !Files.exists(path) else { throw Problem.nameTaken(name.text) }
            return Registration(path: path, socket: try LocalSocket.listen(at: path))
        }
    }

    /// Where a VM's process builds the root of its jail.
    func jailPlace() throws -> String {
        try Files.makeDirectories(jail, mode: 0o700)
        guard Files.isPrivate(jail) else { throw Problem.notOurs(jail) }
        return jail
    }

    /// Whoever can connect can end our VMs, and what stands here is connected to and removed.
    private func requireOwn() throws {
        guard Files.isOwn(path) else { throw Problem.notOurs(path) }
        guard Files.isPrivate(sockets) else { throw Problem.notOurs(sockets) }
    }

    /// Refuses a name that is taken, long before a VM of that name is ready to claim it.
    public func requireFree(_ name: GuestName) throws {
        if try names().contains(name.text) { throw Problem.nameTaken(name.text) }
    }

    /// A socket that is bound and does not listen yet looks stale: only under the lock is it told apart.
    private func locked<Result>(_ body: () throws -> Result) throws -> Result {
        let lock = try Descriptor(path: path + "/lock", flags: O_RDWR | O_CREAT, mode: 0o600)
        lock.waitForLock()
        return try withExtendedLifetime(lock, body)
    }

    private func removeStale() {
        for path in Files.list(sockets).map(socket) where Files.isSocket(path) && Self.isStale(path) {
            Files.remove(path)
        }
    }

    private static func isStale(_ path: String) -> Bool {
        do {
            _ = try LocalSocket.connect(to: path)
            return false
        } catch { return error.code == ECONNREFUSED }
    }

    /// Removes what VMs have left whose processes could not.
    public func tidy() { _ = try? names() }

    /// Names of the VMs that run.
    public func names() throws -> [String] {
        guard Files.exists(sockets) else { return [] }
        try requireOwn()
        return try locked {
            removeStale()
            return Files.list(sockets).filter { Files.isSocket(socket($0)) }
        }
    }

    public func connect(to name: GuestName) throws -> GuestClient {
        guard Files.exists(sockets) else { throw Problem.notRunning(name.text) }
        try requireOwn()
        do {
            return GuestClient(name: name.text, socket: try LocalSocket.connect(to: socket(name.text)))
        } catch {
            guard error.code == ENOENT || error.code == ECONNREFUSED else { throw error }
            throw Problem.notRunning(name.text)
        }
    }
}

/// A VM's place in a RunDirectory, given back at its end: by this process, or where that is jailed by its
/// keeper (see `tidy`).
final class Registration: Sendable {
    let path: String
    let socket: Descriptor

    init(path: String, socket: Descriptor) { (self.path, self.socket) = (path, socket) }

    deinit { if !Jail.isClosed { Files.remove(path) } }
}
