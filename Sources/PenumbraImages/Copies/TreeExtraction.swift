// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// Writes what a container sends of its files: one file, or one directory with all that is in it. The
/// stream is a hostile guest's:
///
/// 1. Every name begins with the one that was asked for, so nothing is written beside it; `..` and zero
///    bytes are refused.
/// 2. Directories are entered one by one, by descriptors, and links are never followed: neither those of
///    the stream nor those that were there before.
/// 3. Devices and pipes are refused. A hard link's target is a file of this very extraction.
/// 4. A file appears under its name when it is whole, and takes the place of a file or a link, of nothing
///    else. Directories that are there stay as they are.
/// 5. Set-user-ID, set-group-ID and sticky bits, and owners, are kept for root only, if asked to;
///    extended attributes never.
/// 6. Entries, their depth, and bytes are bounded.
public final class TreeExtraction {
    /// What an extraction keeps of the files in the stream, beside their permissions and times.
    public enum Attributes: Sendable {
        /// The files are ours.
        case ours
        /// Owners, and the bits that go with them. Takes root.
        case owners
    }

    public struct Limits: Sendable {
        public var entries = FileTree.maximumEntries
        /// Of all files together, in bytes, as they read.
        public var content = LayerMerge.maximumContent

        public init() {}
    }

    /// A directory that this extraction made: its mode and time are set when nothing more is put into it.
    private struct Made {
        let names: [[UInt8]]
        let metadata: FileMetadata
    }

    private let reader: TarReader
    /// What the stream's first entry is called; nil: it is `.`.
    private let top: [UInt8]?
    private let attributes: Attributes
    private let limits: Limits
    private let first: TarEntry
    private var target = CopyTarget(within: [UInt8(ascii: ".")])
    private var files: Set<[[UInt8]]> = []
    private var directories: [Made] = []
    private var entries = 0
    /// Of all files so far.
    public private(set) var byteCount: UInt64 = 0
    /// Where the last entry went: the next is mostly there too.
    private var last: (names: [[UInt8]], directory: Directory)?

    /// Reads the stream's first entry.
    /// - Parameter top: what was asked for, by the last name of its path; `.` for a directory's content.
    public init(
        from source: Descriptor, top: [UInt8], attributes: Attributes = .ours, limits: Limits = Limits(),
        interruptedBy signals: Descriptor? = nil
    ) throws {
        reader = TarReader(InterruptibleSource(source, signals))
        self.top = top == EntryPath.dot ? nil : top
        (self.attributes, self.limits) = (attributes, limits)
        guard let first = try Self.translated(reader.next) else { throw CopyError.cutOff }
        self.first = first
        let names = try Self.names(first.path)
        guard names == (self.top.map { [$0] } ?? []) else { throw Self.notAskedFor(names) }
    }

    public var isDirectory: Bool { first.kind == .directory }

    /// Writes all of it. What fails leaves what is whole.
    public func write(to target: CopyTarget) throws {
        self.target = target
        let root = try Self.attempt([]) { () throws(SystemError) in try Directory(path: target.directory) }
        last = nil
        var entry: TarEntry? = first
        while let next = entry {
            entries += 1
            guard entries <= limits.entries else {
                throw CopyError.tooLarge(what: "the number of files", limit: "\(limits.entries)")
            }
            try write(next, below: root)
            entry = try Self.translated(reader.next)
            // Nothing is below a file.
            if let entry, !isDirectory { throw Self.notAskedFor(try Self.names(entry.path)) }
        }
        try Self.translated { try reader.drain() }
        for made in directories.reversed() { try finish(made, below: root) }
    }

    // MARK: Names

    private static func names(_ path: [UInt8]) throws -> [[UInt8]] {
        try translated { try EntryPath(path).names }
    }

    private static func notAskedFor(_ names: [[UInt8]]) -> CopyError {
        .hostile(path: copyText(names), reason: "is not what was asked for")
    }

    private func place(_ path: [UInt8]) throws -> [[UInt8]] {
        let names = try Self.names(path)
        guard let place = target.place(names, top: top) else { throw Self.notAskedFor(names) }
        return place
    }

    /// The directory that the last of `names` is in.
    private func parent(of names: [[UInt8]], below root: Directory) throws -> Directory {
        let parents = Array(names.dropLast())
        if let last, last.names == parents { return last.directory }
        var directory = root
        for (index, name) in parents.enumerated() {
            do throws(SystemError) { directory = try directory.directory(name) } catch {
                let path = Array(names[...index])
                guard error.code == ENOTDIR || error.code == ELOOP else {
                    throw CopyError.failed(path: copyText(path), error)
                }
                throw CopyError.inTheWay(
                    path: copyText(path), what: "a link or a file in a directory's place")
            }
        }
        last = (parents, directory)
        return directory
    }

    // MARK: Entries

    private func write(_ entry: TarEntry, below root: Directory) throws {
        let names = try place(entry.path)
        // The directory itself, which the target names.
        guard let name = names.last else {
            guard entry.kind == .directory else { throw Self.notAskedFor(names) }
            return
        }
        let parent = try parent(of: names, below: root)
        switch entry.kind {
        case .directory: try makeDirectory(entry, names, in: parent)
        case .file:
            try replace(name, names, in: parent) { try writeFile(entry, $0, names, in: parent) }
            files.insert(names)
        case .hardLink(let target):
            let target = try place(target)
            guard files.contains(target), let file = target.last else {
                throw CopyError.hostile(
                    path: copyText(names), reason: "is another name for a file that is not in the copy")
            }
            let directory = try self.parent(of: target, below: root)
            try replace(name, names, in: parent) { try parent.makeHardLink($0, to: file, in: directory) }
            files.insert(names)
        case .symbolicLink(let target):
            try replace(name, names, in: parent) {
                try parent.makeLink($0, to: target)
                try set(entry.metadata, ofLink: $0, in: parent)
            }
            files.remove(names)
        case .characterDevice, .blockDevice:
            throw CopyError.unsupported(path: copyText(names), what: "a device")
        case .fifo: throw CopyError.unsupported(path: copyText(names), what: "a pipe")
        }
    }

    private func makeDirectory(_ entry: TarEntry, _ names: [[UInt8]], in parent: Directory) throws {
        let name = names[names.count - 1]
        do throws(SystemError) { try parent.makeDirectory(name, mode: 0o700) } catch {
            guard error.code == EEXIST, let information = try parent.information(name),
                information.st_mode & S_IFMT == S_IFDIR
            else {
                if error.code != EEXIST { throw CopyError.failed(path: copyText(names), error) }
                throw CopyError.inTheWay(
                    path: copyText(names), what: "a link or a file in a directory's place")
            }
            return
        }
        directories.append(Made(names: names, metadata: entry.metadata))
    }

    /// Puts a new file in the place of whatever file or link has its name, in one step.
    /// - Parameter make: makes the file, under a name of its own.
    private func replace(
        _ name: [UInt8], _ names: [[UInt8]], in parent: Directory, _ make: ([UInt8]) throws -> Void
    ) throws {
        let new = Array(".penumbra-cp-\(String(UInt64.random(in: .min ... .max), radix: 16))".utf8)
        // Of two names for one file rename(2) leaves both, and of what failed there may be none.
        defer { try? parent.remove(new) }
        do {
            try make(new)
            if let there = try parent.information(name) {
                let type = there.st_mode & S_IFMT
                guard type == S_IFREG || type == S_IFLNK else {
                    let what = type == S_IFDIR ? "a directory" : "no ordinary file"
                    throw CopyError.inTheWay(path: copyText(names), what: what)
                }
            }
            try parent.rename(new, to: name)
        } catch let error as SystemError { throw CopyError.failed(path: copyText(names), error) }
    }

    private func writeFile(
        _ entry: TarEntry, _ name: [UInt8], _ names: [[UInt8]], in parent: Directory
    ) throws {
        let (sum, overflows) = byteCount.addingReportingOverflow(entry.size)
        guard !overflows, sum <= limits.content else {
            throw CopyError.tooLarge(
                what: "the size of all files", limit: "\(ByteCount.text(limits.content))")
        }
        byteCount = sum
        let file = try parent.open(name, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        while case let bytes = try Self.translated({ try reader.readContent(atMost: StreamSize.chunk) }),
            !bytes.isEmpty
        {
            // Zeros are left out: files that were sparse are.
            if bytes.contains(where: { $0 != 0 }) {
                try file.write(bytes)
            } else {
                try file.skip(bytes.count)
            }
        }
        try file.setSize(entry.size)
        try set(entry.metadata, of: file)
    }

    // MARK: Attributes

    private func set(_ metadata: FileMetadata, of file: Descriptor) throws(SystemError) {
        // Owner first: a change of it takes set-user-ID bits away.
        if attributes == .owners { try file.setOwner(user: metadata.owner, group: metadata.group) }
        try file.setMode(mode_t(metadata.permissions) & (attributes == .owners ? 0o7777 : 0o777))
        try file.setModified(Int64(metadata.modified))
    }

    private func set(
        _ metadata: FileMetadata, ofLink name: [UInt8], in parent: Directory
    ) throws(SystemError) {
        if attributes == .owners {
            try parent.setOwner(name, user: metadata.owner, group: metadata.group)
        }
        try parent.setModified(name, Int64(metadata.modified))
    }

    private func finish(_ made: Made, below root: Directory) throws {
        let parent = try parent(of: made.names, below: root)
        try Self.attempt(made.names) { () throws(SystemError) in
            try set(made.metadata, of: try parent.directory(made.names[made.names.count - 1]).descriptor)
        }
    }

    // MARK: Errors

    private static func attempt<Value>(
        _ names: [[UInt8]], _ body: () throws(SystemError) -> Value
    ) throws(CopyError) -> Value {
        do throws(SystemError) { return try body() } catch {
            throw .failed(path: names.isEmpty ? error.subject : copyText(names), error)
        }
    }

    /// What the reader says, in this one's words.
    private static func translated<Value>(_ body: () throws -> Value) throws -> Value {
        do { return try body() } catch let error as ImageError { throw CopyError(error) }
    }
}

/// A descriptor's bytes, until a signal comes.
private final class InterruptibleSource: ByteSource {
    private let source: Descriptor
    private let signals: Descriptor?

    init(_ source: Descriptor, _ signals: Descriptor?) { (self.source, self.signals) = (source, signals) }

    func read(atMost count: Int) throws -> [UInt8] {
        if let signals {
            Descriptor.wait(readable: [source, signals])
            if let signal = signals.takeSignal() { throw Interruption(signal: signal) }
        }
        return try DescriptorSource(source).read(atMost: count)
    }
}

/// A signal came in the middle.
public struct Interruption: Error { public let signal: Int32 }
