// SPDX-License-Identifier: Apache-2.0

/// What a member says about the layers below by its name alone (OCI image specification, "Whiteouts";
/// the names come from aufs).
enum Whiteout: Equatable {
    /// ".wh.NAME": NAME is not there.
    case name([UInt8])
    /// ".wh..wh..opq": nothing that lower layers have in this directory is there.
    case opaque
    /// aufs's own files.
    case ignored

    private static let prefix = Array(".wh.".utf8)
    private static let opaqueName = Array(".wh..wh..opq".utf8)
    private static let internalPrefix = Array(".wh..wh.".utf8)

    /// nil: an ordinary member.
    init?(_ path: EntryPath) throws(ImageError) {
        guard path.names.contains(where: { $0.starts(with: Self.prefix) }), let last = path.names.last else {
            return nil
        }
        if last == Self.opaqueName {
            self = .opaque
        } else if path.names.contains(where: { $0.starts(with: Self.internalPrefix) }) {
            self = .ignored
        } else {
            self = .name(Array(last.dropFirst(Self.prefix.count)))
        }
        let hasReservedParent = path.names.dropLast().contains { $0.starts(with: Self.prefix) }
        guard case .name(let name) = self else { return }
        if hasReservedParent || name.isEmpty || name == EntryPath.dot || name == EntryPath.dotDot {
            throw .hostilePath(path: path.text, reason: "hides no name that a file can have")
        }
    }
}
