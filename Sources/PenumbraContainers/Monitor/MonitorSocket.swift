// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import PenumbraVMM

/// Where a container's monitor is reached: `container/<id>` in the user's RunDirectory. A monitor holds
/// its container's lock, so what it finds there is a dead one's.
struct MonitorSocket {
    let path: String

    init(_ id: ContainerID, in directory: RunDirectory = RunDirectory()) {
        path = "\(directory.path)/container/\(id)"
    }

    private var directory: String { String(path.prefix(upTo: path.lastIndex(of: "/")!)) }

    func listen() throws -> Descriptor {
        try Files.makeDirectories(directory, mode: 0o700)
        // Whoever can connect can do as the user does in the container.
        guard Files.isPrivate(directory) else { throw RunDirectory.Problem.notOurs(directory) }
        Files.remove(path)
        return try LocalSocket.listen(at: path)
    }

    func remove() { Files.remove(path) }

    /// nil: nobody is there.
    func connect() throws -> Descriptor? {
        guard Files.exists(path) else { return nil }
        guard Files.isPrivate(directory) else { throw RunDirectory.Problem.notOurs(directory) }
        do { return try LocalSocket.connect(to: path) } catch {
            guard error.code == ENOENT || error.code == ECONNREFUSED else { throw error }
            return nil
        }
    }
}
