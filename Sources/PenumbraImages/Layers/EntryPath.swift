// SPDX-License-Identifier: Apache-2.0

/// A member's path, taken apart: no name is empty, "." or "..", and a leading slash means the image's
/// root, as everything in an image does.
struct EntryPath {
    private static let slash = UInt8(ascii: "/")
    static let dot: [UInt8] = [UInt8(ascii: ".")]
    static let dotDot: [UInt8] = [UInt8(ascii: "."), UInt8(ascii: ".")]

    /// None: the root itself.
    let names: [[UInt8]]

    init(_ path: [UInt8]) throws(ImageError) {
        guard path.count < LinuxLimits.path else {
            throw .hostilePath(path: printable(path), reason: "is longer than Linux takes")
        }
        names = Self.components(path).filter { $0 != Self.dot }
        for name in names {
            if name == Self.dotDot { throw .hostilePath(path: printable(path), reason: "leads upwards") }
            if name.count > LinuxLimits.name {
                throw .hostilePath(path: printable(path), reason: "holds a name longer than Linux takes")
            }
            if name.contains(0) { throw .hostilePath(path: printable(path), reason: "holds a zero byte") }
        }
    }

    /// The names between slashes, "." and ".." among them.
    static func components(_ path: [UInt8]) -> [[UInt8]] { path.split(separator: slash).map(Array.init) }

    static func isAbsolute(_ path: [UInt8]) -> Bool { path.first == slash }

    var text: String { "/" + names.map { printable($0) }.joined(separator: "/") }
}
