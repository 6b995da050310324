// SPDX-License-Identifier: Apache-2.0

/// An image in the store.
public struct Image: Sendable, Equatable {
    /// Of its configuration, as docker counts.
    public typealias ID = Digest

    public let id: ID
    public let references: [ImageReference]
    public let configuration: ImageConfiguration
    public let architecture: String
    public let operatingSystem: String
    /// RFC 3339, as the image has it.
    public let created: String?
    /// What it takes in the store, in bytes: layers as they came, and the file system made of them.
    public let size: UInt64
    public let manifest: Digest
    /// Digests of the unpacked layers, the lowest first.
    public let layers: [Digest]
}
