// SPDX-License-Identifier: Apache-2.0

/// An absolute path in xenstore (Xen's docs/misc/xenstore.txt): "/" or names with a "/" before each.
struct XenStorePath: Hashable, CustomStringConvertible {
    static let root = XenStorePath(trusted: "/")
    static let lengthLimit = 3072

    let text: String

    /// `text` is known to be a path.
    init(trusted text: String) { self.text = text }

    /// What a guest sent; relative paths begin at `home`. nil: it is no path.
    init?(_ bytes: some Collection<UInt8>, home: XenStorePath) {
        guard !bytes.isEmpty, bytes.count <= Self.lengthLimit, bytes.allSatisfy(Self.isAllowed) else {
            return nil
        }
        let text = String(decoding: bytes, as: UTF8.self)
        let absolute = text.hasPrefix("/") ? text : "\(home)/\(text)"
        guard absolute.utf8.count <= Self.lengthLimit else { return nil }
        guard absolute == "/" || (!absolute.hasSuffix("/") && !absolute.contains("//")) else { return nil }
        self.text = absolute
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "-/_@".utf8.contains(byte)
        }
    }

    var description: String { text }
    var name: String { String(text[text.index(after: lastSlash)...]) }

    /// nil for the root.
    var parent: XenStorePath? {
        if self == .root { return nil }
        return lastSlash == text.startIndex ? .root : XenStorePath(trusted: String(text[..<lastSlash]))
    }

    private var lastSlash: String.Index { text.lastIndex(of: "/")! }

    static func / (path: XenStorePath, name: String) -> XenStorePath {
        XenStorePath(trusted: path == .root ? "/\(name)" : "\(path)/\(name)")
    }

    /// This path itself, or anything below it.
    func contains(_ other: XenStorePath) -> Bool {
        self == .root || self == other || other.text.hasPrefix(text + "/")
    }

    /// As seen from `home`, which contains this path.
    func relative(to home: XenStorePath) -> String { String(text.dropFirst(home.text.count + 1)) }
}
