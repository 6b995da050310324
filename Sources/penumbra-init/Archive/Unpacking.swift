// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// Takes a tar archive from standard input and unpacks it at a path. The process has the container's root
/// for its own, so that no link leads out of that; names lead nowhere but below the directory that it
/// is unpacked in.
struct Unpacking {
    /// Why an archive is not unpacked.
    enum Problem: Error {
        case system(SystemError)
        case header(TarHeader.Problem)
        case endsEarly
        case tooLong
        case leadsOut([UInt8])
        case target(CopyTarget.Problem)

        var text: String {
            switch self {
            case .system(let error): error.description
            case .header(let problem): problem.text
            case .endsEarly: "the archive ends in the middle of an entry"
            case .tooLong: "the archive has a name of more than \(nameLimit) bytes"
            case .leadsOut(let name): "'\(Tree.text(name))' leads out of the directory: it is not unpacked"
            case .target(let problem): problem.description
            }
        }
    }

    /// Of a name, or of records that hold some.
    private static let nameLimit: UInt64 = 1 << 20

    private let path: [UInt8]
    private let placement: CopyPlacement
    /// Where the entries go, and what the first one is called; known with the first one.
    private var target: (CopyTarget, top: [UInt8]?)?
    private let input = Descriptor(adopting: STDIN_FILENO)
    private var buffer: [UInt8] = []
    private var position = 0
    /// Directories get their times when nothing more is put into them.
    private var times: [(path: [UInt8], seconds: Int64)] = []

    /// Says whether it could; why not is said on `errors`.
    static func run(_ path: [UInt8], _ placement: CopyPlacement, _ errors: Descriptor) -> Bool {
        var unpacking = Unpacking(path: path.isEmpty ? [UInt8(ascii: "/")] : path, placement: placement)
        do throws(Problem) {
            try unpacking.run()
            return true
        } catch {
            _ = try? errors.write(Array("\(error.text)\n".utf8))
            return false
        }
    }

    private init(path: [UInt8], placement: CopyPlacement) { (self.path, self.placement) = (path, placement) }

    private mutating func run() throws(Problem) {
        umask(0)
        if placement == .within { try begin(CopyTarget(within: path), top: nil) }
        while let header = try nextEntry() {
            if target == nil { try begin(with: header) }
            try unpack(header)
        }
        // The rest of the last block: whoever writes it is not to be stopped.
        try Self.system { () throws(SystemError) in
            while let rest = try input.read(atMost: 64 << 10), !rest.isEmpty {}
        }
        for (path, seconds) in times.reversed() { init_set_time(Tree.cString(path), seconds, 0) }
    }

    @discardableResult
    private static func system<Value>(
        _ body: () throws(SystemError) -> Value
    ) throws(Problem) -> Value {
        do throws(SystemError) { return try body() } catch { throw .system(error) }
    }

    // MARK: Where it goes

    private mutating func begin(with first: TarHeader) throws(Problem) {
        let path = try Self.destination(path)
        let target: CopyTarget
        do throws(CopyTarget.Problem) {
            target = try CopyTarget(
                path.name, existing: path.existing, sourceIsDirectory: first.kind == .directory)
        } catch { throw .target(error) }
        try begin(target, top: CopyTarget.components(first.name).first)
    }

    private mutating func begin(_ target: CopyTarget, top: [UInt8]?) throws(Problem) {
        try Self.call("chdir", target.directory) { Int(chdir($0)) }
        self.target = (target, top)
    }

    /// What is at a path. A link to a file stands for the file, which is to be replaced.
    private static func destination(
        _ path: [UInt8]
    ) throws(Problem) -> (name: [UInt8], existing: CopyTarget.Existing) {
        guard let resolved = try? Tree.resolved(path) else { return (path, .nothing) }
        let information = try system { () throws(SystemError) in try Tree.information(resolved) }
        return information.st_mode & S_IFMT == S_IFDIR ? (path, .directory) : (resolved, .other)
    }

    // MARK: Headers

    /// The next entry with what headers before it say of it; nil at the end.
    private mutating func nextEntry() throws(Problem) -> TarHeader? {
        var (records, name, link): ([UInt8], [UInt8]?, [UInt8]?) = ([], nil, nil)
        while let block = try take(TarHeader.blockSize, mayEnd: true) {
            guard var header = try Self.header(block) else { return nil }
            switch header.kind {
            case .extended: records = try takeContent(header)
            case .globalExtended: _ = try takeContent(header)
            case .longName: name = try takeContent(header).filter { $0 != 0 }
            case .longLink: link = try takeContent(header).filter { $0 != 0 }
            default:
                do throws(TarHeader.Problem) { try header.apply(records: records) } catch {
                    throw .header(error)
                }
                header.name = name ?? header.name
                header.link = link ?? header.link
                return header
            }
        }
        return nil
    }

    private static func header(_ block: [UInt8]) throws(Problem) -> TarHeader? {
        do throws(TarHeader.Problem) { return try TarHeader(block) } catch { throw .header(error) }
    }

    private mutating func takeContent(_ header: TarHeader) throws(Problem) -> [UInt8] {
        guard header.size <= Self.nameLimit else { throw .tooLong }
        let content = try take(Int(header.size)) ?? []
        _ = try take(TarHeader.padding(after: header.size))
        return content
    }

    /// So many bytes of the archive; nil if it may end here and does.
    private mutating func take(_ count: Int, mayEnd: Bool = false) throws(Problem) -> [UInt8]? {
        while buffer.count - position < count {
            let more = try Self.system { () throws(SystemError) in try input.read(atMost: 64 << 10) } ?? []
            guard !more.isEmpty else {
                if mayEnd, position == buffer.count { return nil }
                throw .endsEarly
            }
            buffer.removeFirst(position)
            position = 0
            buffer += more
        }
        defer { position += count }
        return Array(buffer[position..<(position + count)])
    }

    // MARK: Entries

    /// Relative to the directory, without what leads up.
    private func relative(_ name: [UInt8]) throws(Problem) -> [UInt8] {
        let parts = CopyTarget.components(name)
        guard let (target, top) = target, !parts.contains(Array("..".utf8)),
            let names = target.place(parts, top: top)
        else { throw .leadsOut(name) }
        return names.isEmpty ? [UInt8(ascii: ".")] : Array(names.joined(separator: [UInt8(ascii: "/")]))
    }

    private mutating func unpack(_ header: TarHeader) throws(Problem) {
        let path = try relative(header.name)
        if header.kind == .directory { return try makeDirectory(header, at: path) }
        try makeParents(of: path)
        if header.kind == .file { return try makeFile(header, at: path) }
        try removeOther(path)
        switch header.kind {
        case .hardLink:
            let target = try relative(header.link)
            return try Self.call("link", path) {
                Int(linkat(AT_FDCWD, Tree.cString(target), AT_FDCWD, $0, 0))
            }
        case .symbolicLink:
            try Self.call("symlink", path) { Int(symlink(Tree.cString(header.link), $0)) }
        case .characterDevice, .blockDevice, .pipe:
            let type = header.kind == .pipe ? S_IFIFO : header.kind == .blockDevice ? S_IFBLK : S_IFCHR
            try Self.call("mknod", path) {
                Int(init_make_node($0, type | header.mode & 0o7777, header.major, header.minor))
            }
        default: return
        }
        try own(header, path)
        init_set_time(Tree.cString(path), header.modified, 0)
    }

    private static func call(
        _ name: String, _ path: [UInt8], _ body: (UnsafePointer<CChar>) -> Int
    ) throws(Problem) {
        try system { () throws(SystemError) in try Tree.call(name, path, body) }
    }

    /// Owner first: a change of it takes set-user-ID bits away.
    private func own(_ header: TarHeader, _ path: [UInt8]) throws(Problem) {
        try Self.call("chown", path) { Int(lchown($0, header.user, header.group)) }
        guard header.kind != .symbolicLink else { return }
        try Self.call("chmod", path) { Int(chmod($0, header.mode & 0o7777)) }
    }

    /// One that is there keeps what is in it, and, where a copy comes to it, its owner, mode and time.
    private mutating func makeDirectory(_ header: TarHeader, at path: [UInt8]) throws(Problem) {
        try makeParents(of: path)
        if mkdir(Tree.cString(path), 0o700) != 0 {
            let code = errno
            let information = try? Tree.information(path)
            guard code == EEXIST, let information, information.st_mode & S_IFMT == S_IFDIR else {
                throw .system(SystemError(call: "mkdir", subject: Tree.text(path), code: code))
            }
            if placement == .target { return }
        }
        try own(header, path)
        times.append((path, header.modified))
    }

    /// Directories that the archive does not name.
    private func makeParents(of path: [UInt8]) throws(Problem) {
        let slash = UInt8(ascii: "/")
        for (index, byte) in path.enumerated() where byte == slash {
            let parent = Array(path[..<index])
            guard mkdir(Tree.cString(parent), 0o755) != 0, errno != EEXIST else { continue }
            throw .system(SystemError(call: "mkdir", subject: Tree.text(parent), code: errno))
        }
    }

    /// A file gives way to another; a directory does not.
    private func removeOther(_ path: [UInt8]) throws(Problem) {
        guard unlink(Tree.cString(path)) != 0, errno != ENOENT else { return }
        throw .system(SystemError(call: "replacing", subject: Tree.text(path), code: errno))
    }

    /// It gets its name, and takes the place of another file, when it is whole.
    private mutating func makeFile(_ header: TarHeader, at path: [UInt8]) throws(Problem) {
        let directory = path.lastIndex(of: UInt8(ascii: "/")).map { path[...$0] } ?? []
        let new = Array(directory) + Array(".penumbra-cp-\(getpid())".utf8)
        do throws(Problem) {
            try writeFile(header, at: new)
            try own(header, new)
            init_set_time(Tree.cString(new), header.modified, 0)
            try Self.call("rename", path) { Int(rename(Tree.cString(new), $0)) }
        } catch {
            unlink(Tree.cString(new))
            throw error
        }
    }

    private mutating func writeFile(_ header: TarHeader, at path: [UInt8]) throws(Problem) {
        let flags = O_WRONLY | O_CREAT | O_EXCL
        let file = try Self.system { () throws(SystemError) in try Tree.open(path, flags, mode: 0o600) }
        var rest = header.size
        while rest > 0 {
            let bytes = try take(Int(min(rest, 32 << 10))) ?? []
            try Self.system { () throws(SystemError) in try file.write(bytes) }
            rest -= UInt64(bytes.count)
        }
        _ = try take(TarHeader.padding(after: header.size))
    }
}
