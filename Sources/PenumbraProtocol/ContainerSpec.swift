// SPDX-License-Identifier: Apache-2.0

/// What a container looks like to the processes in it.
public struct ContainerSpec: Equatable, Sendable {
    public var hostname: String
    public var root: RootSpec
    /// In the order in which they are mounted.
    public var mounts: [MountSpec] = []
    /// Files that the container finds at these places, whatever its image has there: /etc/hosts and such.
    public var files: [FileSpec] = []
    /// nil: only the loopback interface.
    public var network: NetworkSpec?

    public init(hostname: String, root: RootSpec) { (self.hostname, self.root) = (hostname, root) }
}

/// Where the container's root file system comes from.
public struct RootSpec: Equatable, Sendable {
    /// What is mounted read-only below everything.
    public enum Image: Equatable, Sendable {
        /// A block device ("xvda") with a file system of this type ("squashfs").
        case disk(device: String, type: String)
        /// A directory of the initial RAM disk.
        case directory(String)
    }

    /// Where changes go.
    public enum Changes: Equatable, Sendable {
        /// A block device ("xvdb") with a writable file system of this type ("ext4").
        case disk(device: String, type: String)
        /// Memory of the guest's, gone at its end; in bytes, 0: up to half of the guest's memory.
        case memory(limit: UInt64)
    }

    public var image: Image
    public var changes: Changes
    /// Processes may not write outside of mounts (--read-only).
    public var isReadOnly = false

    public init(image: Image, changes: Changes, isReadOnly: Bool = false) {
        (self.image, self.changes, self.isReadOnly) = (image, changes, isReadOnly)
    }
}

/// Something that is mounted within the container.
public struct MountSpec: Equatable, Sendable {
    public enum Source: Equatable, Sendable {
        /// An empty file system in memory; `limit` in bytes, 0: up to half of the guest's memory.
        case memory(limit: UInt64, permissions: UInt32)
        /// A block device ("xvdc") with a file system of this type.
        case disk(device: String, type: String)
        /// A directory of the host's, by the tag under which the VMM serves it (9p over Xen).
        case share(tag: String)
    }

    public var source: Source
    /// An absolute path in the container; what is missing on the way to it is created.
    public var target: String
    public var isReadOnly = false

    public init(_ source: Source, at target: String, isReadOnly: Bool = false) {
        (self.source, self.target, self.isReadOnly) = (source, target, isReadOnly)
    }
}

/// A small file that lies over the image.
public struct FileSpec: Equatable, Sendable {
    /// An absolute path in the container.
    public var path: String
    public var content: [UInt8]
    public var permissions: UInt32

    public init(path: String, content: [UInt8], permissions: UInt32 = 0o644) {
        (self.path, self.content, self.permissions) = (path, content, permissions)
    }
}

/// The container's network interface (Xen's first, "eth0").
public struct NetworkSpec: Equatable, Sendable {
    /// An address and the network that it is in.
    public struct Address: Equatable, Sendable {
        /// 4 bytes (IPv4) or 16 (IPv6).
        public var bytes: [UInt8]
        public var prefixLength: UInt8

        public init(_ bytes: [UInt8], prefixLength: UInt8) {
            (self.bytes, self.prefixLength) = (bytes, prefixLength)
        }
    }

    public var interface = "eth0"
    public var addresses: [Address]
    /// Where everything else is reached, at most one for each kind of address.
    public var gateways: [[UInt8]]
    /// Bytes; nil: as the driver has it.
    public var mtu: UInt32?

    public init(addresses: [Address], gateways: [[UInt8]], mtu: UInt32? = nil) {
        (self.addresses, self.gateways, self.mtu) = (addresses, gateways, mtu)
    }
}
