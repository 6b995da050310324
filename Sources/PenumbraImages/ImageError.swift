// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// What can go wrong with images; the text is the user's message.
public enum ImageError: Error, Equatable, CustomStringConvertible {
    case badReference(String, reason: String)
    case unknownImage(String)
    case ambiguous(prefix: String, count: Int)
    case inUse(image: String, by: [String])
    case severalReferences(id: String, references: [String])
    /// What is damaged, and how that shows.
    case damaged(String, String)
    case digestMismatch(of: String, expected: Digest, found: Digest)
    /// A path in a layer that a sound image has not.
    case hostilePath(path: String, reason: String)
    /// What is asked for, and what would do instead.
    case unsupported(String, String)
    case otherArchitecture(image: String, found: String)
    case noImage(in: String, reason: String)
    case tooLarge(what: String, limit: String)
    case missingProgram(name: String, package: String)
    case failed(what: String, reason: String, remedy: String)
    case noRoom(path: String)

    /// The architecture whose programs run in guests, as image configurations call it.
    public static let architecture = "amd64"

    public var description: String {
        switch self {
        case .badReference(let text, let reason): "'\(text)' is no image's name: \(reason)"
        case .unknownImage(let name):
            "there is no image '\(name)': see 'penumbra image ls', or get it with 'penumbra pull \(name)'"
        case .ambiguous(let prefix, let count):
            "\(count) images have ids that begin with '\(prefix)': give more digits"
        case .inUse(let image, let containers):
            "image '\(image)' is used by \(containers.joined(separator: ", ")): remove these containers first"
        case .severalReferences(let id, let references):
            "image \(id) has several names (\(references.joined(separator: ", "))): "
                + "remove them by name, or all of them with --force"
        case .damaged(let what, let reason): "\(what) is damaged: \(reason); get the image anew"
        case .digestMismatch(let what, let expected, let found):
            "\(what) is not what its digest says (expected \(expected), found \(found)): get the image anew"
        case .hostilePath(let path, let reason):
            "the image holds a path that no sound image has: '\(path)' \(reason); nothing of it was kept"
        case .unsupported(let what, let remedy): "\(what) is not supported: \(remedy)"
        case .otherArchitecture(let image, let found):
            "\(image) is for \(found), and this host runs linux/\(Self.architecture): get the image for that"
        case .noImage(let place, let reason):
            "\(place) holds no container image (\(reason)): "
                + "give an OCI layout, or an archive that 'penumbra image save' or 'docker save' made"
        case .tooLarge(let what, let limit):
            "\(what) is larger than the limit of \(limit): use a smaller image"
        case .missingProgram(let name, let package):
            "\(name) is not in PATH: install Debian's package \(package)"
        case .failed(let what, let reason, let remedy): "\(what) failed: \(reason); \(remedy)"
        case .noRoom(let path):
            "no space is left for \(path): make room, for example with 'penumbra image prune'"
        }
    }
}

/// Bytes of somebody else's choosing, fit for a message of one line.
func printable(_ bytes: some Sequence<UInt8>) -> String {
    let text = String(decoding: Array(bytes.prefix(200)), as: UTF8.self)
    return String(
        String.UnicodeScalarView(
            text.unicodeScalars.map { $0.value < 0x20 || (0x7f..<0xa0).contains($0.value) ? "?" : $0 }))
}
