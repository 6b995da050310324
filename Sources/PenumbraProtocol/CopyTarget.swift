// SPDX-License-Identifier: Apache-2.0

/// How the names in a tar stream become names below a path.
public enum CopyPlacement: UInt8, Equatable, Sendable {
    /// As they are, below a directory that is there.
    case within = 1
    /// The stream is one file or one tree, and goes where `CopyTarget` says.
    case target
}

/// Where a file or a tree is put that is copied to a path, by the rules that docker's `cp` has:
///
///     the path is        a file comes to             a directory comes to        its content ("/.") comes to
///     a directory        the directory, by its name  the directory, by its name  the directory
///     another file       that file's place           nowhere                     nowhere
///     not there          that name                   that name                   that name
///     not there, "x/"    nowhere                     that name                   that name
///
/// The directory that the path's last name is in must be there.
public struct CopyTarget: Equatable, Sendable {
    /// What is at a path, links followed.
    public enum Existing: Equatable, Sendable { case nothing, directory, other }

    public enum Problem: Error, Equatable, Sendable, CustomStringConvertible {
        case directoryOverFile([UInt8])
        case noDirectory([UInt8])

        public var description: String {
            switch self {
            case .directoryOverFile(let path):
                "a directory cannot take the place of the file '\(String(decoding: path, as: UTF8.self))'"
            case .noDirectory(let path):
                "there is no directory '\(String(decoding: path, as: UTF8.self))': make it first"
            }
        }
    }

    private static let slash = UInt8(ascii: "/")

    /// Where the copy begins.
    public let directory: [UInt8]
    /// What the copied file or directory is called there; nil: what it is called in the stream.
    public let name: [UInt8]?

    private init(directory: [UInt8], name: [UInt8]?) { (self.directory, self.name) = (directory, name) }

    public init(
        _ path: [UInt8], existing: Existing, sourceIsDirectory: Bool
    ) throws(Problem) {
        switch existing {
        case .directory: self.init(within: path)
        case .other where sourceIsDirectory: throw .directoryOverFile(path)
        case .nothing where path.last == Self.slash && !sourceIsDirectory: throw .noDirectory(path)
        case .other, .nothing: self.init(splitting: path)
        }
    }

    /// The directory at `path`, and names as they are in the stream.
    public init(within path: [UInt8]) { self.init(directory: path, name: nil) }

    private init(splitting path: [UInt8]) {
        let end = path.lastIndex { $0 != Self.slash }.map { $0 + 1 } ?? 0
        let start = path[..<end].lastIndex(of: Self.slash).map { $0 + 1 } ?? 0
        let directory = path[..<start].isEmpty ? [UInt8(ascii: ".")] : Array(path[..<start])
        self.init(directory: directory, name: Array(path[start..<end]))
    }

    // MARK: Names in the stream

    /// The names that an entry's path consists of; a stream's first entry is `.` where the content of a
    /// directory is copied.
    public static func components(_ path: [UInt8]) -> [[UInt8]] {
        path.split(separator: slash).map { Array($0) }.filter { $0 != [UInt8(ascii: ".")] }
    }

    /// Where an entry goes, below `directory`; nil: it belongs to no tree of that name.
    /// - Parameter top: what the stream's first entry is called; nil: it is `.`.
    public func place(_ entry: [[UInt8]], top: [UInt8]?) -> [[UInt8]]? {
        guard let top else { return (name.map { [$0] } ?? []) + entry }
        guard entry.first == top else { return nil }
        return [name ?? top] + entry.dropFirst()
    }
}
