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
    public let path: String

    public init(_ data: DataDirectory) throws {
        path = data.volumes
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

    /// Removes a volume with all that is in it.
    /// - Parameter containers: all there are, among which nobody may name it.
    public func remove(_ name: VolumeName, unlessUsedBy containers: [Container]) throws {
        guard Files.exists(directory(of: name)) else { throw ContainerError.unknownVolume(name.text) }
        let users = Self.users(of: name, among: containers)
        guard users.isEmpty else { throw ContainerError.volumeInUse(name.text, by: users) }
        try Files.removeForeignTree(directory(of: name))
    }

    /// Names of the containers that mount it.
    public static func users(of name: VolumeName, among containers: [Container]) -> [String] {
        containers.filter { $0.configuration.volumeMounts.contains { $0.source == .volume(name) } }.map(
            \.name)
    }
}
