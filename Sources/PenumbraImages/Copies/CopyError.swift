// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Why files are not copied out of a container, or into it; the text is the user's message.
public enum CopyError: Error, Equatable, CustomStringConvertible {
    /// The stream is no sound archive.
    case damaged(String)
    /// The stream ends before its end.
    case cutOff
    /// A name in the stream that nobody asked for.
    case hostile(path: String, reason: String)
    case unsupported(path: String, what: String)
    case inTheWay(path: String, what: String)
    case tooLarge(what: String, limit: String)
    case failed(path: String, SystemError)

    public var description: String {
        switch self {
        case .damaged(let reason): "what came out of the container is no sound archive: \(reason)"
        case .cutOff: "the container's files ended in the middle: the copy is incomplete"
        case .hostile(let path, let reason):
            "the container sent '\(path)', which \(reason): it was not written, and nothing behind it"
        case .unsupported(let path, let what):
            "'\(path)' is \(what), which is not copied out: leave it out, or take the tar stream, with '-' in place of the directory"
        case .inTheWay(let path, let what):
            "'\(path)' is not replaced, since there is \(what): remove that first, or copy to another place"
        case .tooLarge(let what, let limit): "\(what) exceeds the limit of \(limit): copy less at a time"
        case .failed(let path, let error):
            "'\(path)' could not be copied (\(error.call)): \(error.reason)"
        }
    }

    /// What the reader of archives finds wrong.
    init(_ error: ImageError) {
        self =
            switch error {
            case TarReader.cutOff: .cutOff
            case .damaged(_, let reason): .damaged(reason)
            case .unsupported(let what, _): .damaged("it has \(what)")
            case .hostilePath(let path, let reason): .hostile(path: path, reason: reason)
            case .tooLarge(let what, let limit): .tooLarge(what: what, limit: limit)
            default: .damaged("\(error)")
            }
    }
}

/// A name on its way to a message.
func copyText(_ names: [[UInt8]]) -> String {
    names.isEmpty ? "." : printable(names.joined(separator: [UInt8(ascii: "/")]))
}
