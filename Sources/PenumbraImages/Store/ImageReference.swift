// SPDX-License-Identifier: Apache-2.0

/// An image's name in full: registry, repository, and a tag or a digest. What is left out is what docker
/// takes for it: "docker.io", "library/", "latest".
public struct ImageReference: Hashable, Sendable, CustomStringConvertible {
    private static let defaultRegistry = "docker.io"
    private static let officialPrefix = "library/"
    private static let defaultTag = "latest"
    /// OCI distribution specification, "Pulling manifests".
    private static let maximumTag = 128
    private static let maximumName = 255

    public let registry: String
    public let repository: String
    /// nil if there is a digest.
    public let tag: String?
    /// Of a manifest, or of an index of them.
    public let digest: Digest?

    /// "debian", "debian:12", "localhost:5000/team/tool@sha256:...".
    public init(_ text: String) throws(ImageError) {
        func problem(_ reason: String) -> ImageError { .badReference(text, reason: reason) }
        var name = Substring(text)
        var digest: Digest?
        if let at = name.firstIndex(of: "@") {
            digest = Digest(name[name.index(after: at)...])
            guard digest != nil else { throw problem("after '@' there must be sha256: and 64 digits") }
            name = name[..<at]
        }
        var tag: String?
        if let colon = name.lastIndex(of: ":"), !name[colon...].contains("/") {
            tag = String(name[name.index(after: colon)...])
            name = name[..<colon]
        }
        guard name.utf8.count <= Self.maximumName else { throw problem("it has more than 255 characters") }
        if let tag, !Self.isTag(tag) {
            throw problem(
                "a tag has 1 to 128 of A-Z, a-z, 0-9, '_', '.' and '-', and begins with none of the last two")
        }
        (registry, repository) = Self.split(name)
        guard Self.isRepository(repository) else {
            throw problem("a name has words of a-z and 0-9 between '/', joined by '.', '_' or '-'")
        }
        guard Self.isRegistry(registry) else { throw problem("'\(registry)' is no registry's host") }
        self.digest = digest
        // As docker does: the digest says all.
        self.tag = digest == nil ? tag ?? Self.defaultTag : nil
    }

    /// The first word is a registry if no repository could be called so.
    private static func split(_ name: Substring) -> (registry: String, repository: String) {
        if let slash = name.firstIndex(of: "/") {
            let first = name[..<slash]
            if first.contains(where: { $0 == "." || $0 == ":" || $0.isUppercase }) || first == "localhost" {
                return (String(first), String(name[name.index(after: slash)...]))
            }
            return (defaultRegistry, String(name))
        }
        return (defaultRegistry, officialPrefix + name)
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"): true
        default: false
        }
    }

    private static func isTag(_ tag: String) -> Bool {
        let bytes = Array(tag.utf8)
        func isWord(_ byte: UInt8) -> Bool {
            isAlphanumeric(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || byte == UInt8(ascii: "_")
        }
        guard (1...maximumTag).contains(bytes.count), isWord(bytes[0]) else { return false }
        return bytes.allSatisfy { isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
    }

    private static func isRepository(_ name: String) -> Bool {
        name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { word in
            guard let first = word.utf8.first, let last = word.utf8.last else { return false }
            return isAlphanumeric(first) && isAlphanumeric(last)
                && word.utf8.allSatisfy { isAlphanumeric($0) || "._-".utf8.contains($0) }
                && !word.contains("..") && !word.contains("___") && !word.contains("._")
        }
    }

    private static func isRegistry(_ host: String) -> Bool {
        let parts = host.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let isName = { (byte: UInt8) in
            isAlphanumeric(byte) || ".-".utf8.contains(byte)
                || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
        }
        guard let name = parts.first, !name.isEmpty, name.utf8.allSatisfy(isName), name.first != "-",
            name.first != "."
        else {
            return false
        }
        return parts.count < 2 || UInt16(parts[1]) != nil
    }

    /// In full.
    public var description: String { "\(registry)/\(repository)\(suffix)" }

    /// As people write it.
    public var familiar: String { familiarName + suffix }

    public var familiarName: String {
        if registry != Self.defaultRegistry { return "\(registry)/\(repository)" }
        let isOfficial =
            repository.hasPrefix(Self.officialPrefix)
            && !repository.dropFirst(Self.officialPrefix.count).contains("/")
        return isOfficial ? String(repository.dropFirst(Self.officialPrefix.count)) : repository
    }

    private var suffix: String { digest.map { "@\($0)" } ?? tag.map { ":\($0)" } ?? "" }
}
