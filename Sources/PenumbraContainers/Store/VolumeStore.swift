// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// What a volume is called: as containers are.
public struct VolumeName: Equatable, Hashable, Sendable {
    public let text: String

    public init(_ text: String) throws(ContainerError) {
        guard let name = try? ContainerName(text) else { throw .badVolumeName(text) }
        self.text = name.text
    }
}

/// Directories that outlive containers, by name: `volumes/NAME`. A container that names one makes it.
///
/// What a guest puts there has whatever owner and mode the guest gives it, so the directory of all
/// volumes is closed to everybody else (`VolumeShare`).
public struct VolumeStore: Sendable {
    private static let removedPrefix = ".removed-"

    public let path: String

    public init(_ data: DataDirectory) throws { try self.init(path: data.volumes) }

    init(path: String) throws {
        self.path = path
        try Files.makeDirectories(path, mode: 0o700)
    }

    public func directory(of name: VolumeName) -> String { "\(path)/\(name.text)" }

    /// In the order of their names.
    public func list() -> [VolumeName] {
        Files.list(path).compactMap { try? VolumeName($0) }.sorted { $0.text < $1.text }
    }

    /// Makes a volume; one that is there stays as it is.
    public func create(_ name: VolumeName) throws {
        try Files.makeDirectories(directory(of: name), mode: 0o755)
    }

    /// Removes a volume that no container names, with all that is in it.
    ///
    /// A container is there before its volumes are: whoever makes one meanwhile waits until this one is
    /// renamed, and its start makes the volume anew. What a kill leaves of it goes with the next removal.
    public func remove(_ name: VolumeName, unlessUsedIn containers: ContainerStore) throws {
        let removed = "\(path)/\(Self.removedPrefix)\(UInt64.random(in: .min ... .max))"
        try containers.locked {
            guard Files.exists(directory(of: name)) else { throw ContainerError.unknownVolume(name.text) }
            let users = Self.users(of: name, among: containers.list())
            guard users.isEmpty else { throw ContainerError.volumeInUse(name.text, by: users) }
            try retrying("rename", removed) { Int(rename(directory(of: name), removed)) }
        }
        for leftover in Files.list(path) where leftover.hasPrefix(Self.removedPrefix) {
            try Files.removeForeignTree("\(path)/\(leftover)")
        }
    }

    /// Removes the volumes that no container names.
    /// - Returns: those that are gone, and what they took, in bytes.
    public func prune(in containers: ContainerStore) throws -> (removed: [VolumeName], freed: UInt64) {
        var result = (removed: [VolumeName](), freed: UInt64(0))
        for name in list() {
            let size = occupied(name)
            do { try remove(name, unlessUsedIn: containers) } catch ContainerError.volumeInUse {
                continue
            } catch ContainerError.unknownVolume { continue }
            result.removed.append(name)
            result.freed += size
        }
        return result
    }

    /// What a volume takes on the disk, in bytes.
    public func occupied(_ name: VolumeName) -> UInt64 { Files.occupied(directory(of: name)) }

    /// Names of the containers that mount it.
    public static func users(of name: VolumeName, among containers: [Container]) -> [String] {
        containers.filter { $0.configuration.volumeMounts.contains { $0.source == .volume(name) } }.map(
            \.name)
    }
}
