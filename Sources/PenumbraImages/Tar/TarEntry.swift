// SPDX-License-Identifier: Apache-2.0

/// A member of an archive, as POSIX (pax, "ustar Interchange Format") knows it. Names are bytes: Linux
/// asks for no encoding.
struct TarEntry: Equatable {
    enum Kind: Equatable {
        case file
        case hardLink(target: [UInt8])
        case symbolicLink(target: [UInt8])
        case characterDevice(DeviceNumber)
        case blockDevice(DeviceNumber)
        case directory
        case fifo

        /// Of a link's target, in bytes.
        var targetSize: Int {
            switch self {
            case .hardLink(let target), .symbolicLink(let target): target.count
            default: 0
            }
        }
    }

    var path: [UInt8]
    var kind: Kind
    var metadata = FileMetadata()
    /// Bytes that follow the header; nothing but a file has any.
    var size: UInt64 = 0
}

struct DeviceNumber: Hashable {
    var major: UInt32
    var minor: UInt32
}

/// What a file has beside its name and its content.
struct FileMetadata: Equatable {
    /// The low twelve bits of st_mode: permissions, set-user-id, set-group-id, sticky.
    var permissions: UInt16 = 0o755
    var owner: UInt32 = 0
    var group: UInt32 = 0
    /// Seconds since 1970; what lies outside of 32 bits is brought to the nearer end.
    var modified: UInt32 = 0
    var attributes: [ExtendedAttribute] = []
}

/// xattr(7).
struct ExtendedAttribute: Hashable {
    /// With its namespace, as "user.x".
    var name: [UInt8]
    var value: [UInt8]
}

/// Limits of what Linux takes (limits.h).
enum LinuxLimits {
    static let name = 255
    static let path = 4096
    static let attributeName = 255
    static let attributeValue = 65536
}
