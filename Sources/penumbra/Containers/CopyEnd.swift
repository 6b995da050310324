// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol

/// One end of a copy, as the user writes it.
enum CopyEnd: Equatable {
    /// `-`
    case stream
    case local(CopyPath)
    /// `CONTAINER:PATH`
    case container(String, path: CopyPath)

    /// What has a colon is a container's, but for paths that begin with a slash or a dot.
    init(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        if text == "-" {
            self = .stream
        } else if parts.count == 2, !text.hasPrefix("/"), !text.hasPrefix(".") {
            self = .container(String(parts[0]), path: CopyPath(Array(parts[1].utf8), absolute: true))
        } else {
            self = .local(CopyPath(Array(text.utf8)))
        }
    }
}

/// A path whose `..` is resolved by its text, as docker's `cp` does, and whose end keeps its meaning.
struct CopyPath: Equatable {
    /// What is behind the last name.
    enum Ending: Equatable {
        case none
        /// "/": a directory.
        case slash
        /// "/.": what is in a directory.
        case content
    }

    private static let slash = UInt8(ascii: "/")
    private static let dot = [UInt8(ascii: ".")]
    private static let dotDot = Array("..".utf8)

    let names: [[UInt8]]
    let ending: Ending
    private let isAbsolute: Bool

    /// - Parameter absolute: relative to `/`, with or without a slash at the beginning.
    init(_ path: [UInt8], absolute: Bool = false) {
        isAbsolute = absolute || path.first == Self.slash
        let words = path.split(separator: Self.slash).map { Array($0) }
        var names: [[UInt8]] = []
        for word in words where word != Self.dot {
            if word != Self.dotDot {
                names.append(word)
            } else if let last = names.last, last != Self.dotDot {
                names.removeLast()
            } else if !isAbsolute {
                names.append(word)
            }
        }
        self.names = names
        let isContent = names.isEmpty || words.last == Self.dot || names.last == Self.dotDot
        ending = isContent ? .content : path.last == Self.slash ? .slash : .none
    }

    /// What the first entry of its tar stream is called.
    var top: [UInt8] { ending == .content ? Self.dot : names.last ?? Self.dot }

    /// The directory that the last name is in; of a directory's content, the directory.
    var parent: [UInt8] {
        text(ending == .content ? names : Array(names.dropLast())) + [Self.slash] + Self.dot
    }

    var bytes: [UInt8] {
        switch ending {
        case .none: text(names)
        case .slash: text(names) + [Self.slash]
        case .content: text(names) + [Self.slash] + Self.dot
        }
    }

    /// As a place to copy to: "/." is as good as "/" there.
    var destination: [UInt8] { ending == .none ? text(names) : text(names) + [Self.slash] }

    private func text(_ names: [[UInt8]]) -> [UInt8] {
        let joined = Array(names.joined(separator: [Self.slash]))
        if isAbsolute { return joined.isEmpty ? [] : [Self.slash] + joined }
        return joined.isEmpty ? Self.dot : joined
    }
}
