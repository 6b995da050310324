// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// What containers take on the disk.
extension ContainerStore {
    /// For so many seconds a container that was never started is taken to be about to be.
    private static let startPatience: Int64 = 60

    /// In bytes: its disk, as far as it is written, and its logs.
    public func occupied(_ container: Container) -> UInt64 { Files.occupied(files(container.id).path) }

    /// Removes the containers that do not run, but for those that have just been created. One that somebody
    /// else starts or removes meanwhile is left to him.
    /// - Returns: those that are gone, and what they took, in bytes.
    public func prune(
        now: Timestamp = .now, complain: (String) -> Void = { _ in }
    ) throws -> (removed: [ContainerID], freed: UInt64) {
        var result = (removed: [ContainerID](), freed: UInt64(0))
        for container in list(complain: complain) where isIdle(container, now) {
            do {
                guard let lock = try lock(container.id) else { continue }
                // It may have been started, and have ended, before the lock was ours: it does not run now.
                let size = occupied(container)
                try remove(container.id, holding: lock)
                result.removed.append(container.id)
                result.freed += size
            } catch ContainerError.unknown { continue }
        }
        return result
    }

    private func isIdle(_ container: Container, _ now: Timestamp) -> Bool {
        switch container.state {
        case .created: container.configuration.created.seconds + Self.startPatience < now.seconds
        case .running: false
        case .exited: true
        }
    }
}
