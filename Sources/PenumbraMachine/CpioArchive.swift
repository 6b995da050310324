// SPDX-License-Identifier: Apache-2.0

/// An archive in the "newc" format that Linux unpacks as its first root file system
/// (Documentation/driver-api/early-userspace/buffer-format.rst). Everything belongs to root and
/// carries no time, so that the same input gives the same bytes.
public struct CpioArchive: Sendable {
    private static let fileType: (directory: UInt32, file: UInt32, link: UInt32, characterDevice: UInt32) = (
        0o040000, 0o100000, 0o120000, 0o020000
    )

    private var bytes: [UInt8] = []
    private var inode: UInt32 = 0
    private var directories: Set<String> = []

    public init() {}

    /// Adds a directory and its parents, unless they are there.
    public mutating func addDirectory(_ path: String, permissions: UInt32 = 0o755) {
        let path = Self.relative(path)
        guard !path.isEmpty, directories.insert(path).inserted else { return }
        addParent(of: path)
        add(path, mode: Self.fileType.directory | permissions, content: [])
    }

    public mutating func addFile(_ path: String, _ content: [UInt8], permissions: UInt32 = 0o644) {
        addParent(of: Self.relative(path))
        add(Self.relative(path), mode: Self.fileType.file | permissions, content: content)
    }

    public mutating func addLink(_ path: String, to target: String) {
        addParent(of: Self.relative(path))
        add(Self.relative(path), mode: Self.fileType.link | 0o777, content: Array(target.utf8))
    }

    public mutating func addCharacterDevice(_ path: String, major: UInt32, minor: UInt32) {
        addParent(of: Self.relative(path))
        add(
            Self.relative(path), mode: Self.fileType.characterDevice | 0o600, content: [],
            device: (major, minor))
    }

    /// The archive with its trailer.
    public func finished() -> [UInt8] {
        var archive = self
        archive.inode = 0
        archive.add("TRAILER!!!", mode: 0, content: [])
        return archive.bytes
    }

    private static func relative(_ path: String) -> String { String(path.drop { $0 == "/" }) }

    private mutating func addParent(of path: String) {
        guard let slash = path.lastIndex(of: "/") else { return }
        addDirectory(String(path[..<slash]))
    }

    private mutating func add(
        _ name: String, mode: UInt32, content: [UInt8], device: (UInt32, UInt32) = (0, 0)
    ) {
        inode += 1
        let fields: [UInt32] = [
            inode, mode, 0, 0, 1, 0, UInt32(content.count), 0, 0, device.0, device.1,
            UInt32(name.utf8.count + 1), 0,
        ]
        bytes += Array("070701".utf8)
        for field in fields { appendHexadecimal(field) }
        bytes += Array(name.utf8) + [0]
        pad()
        bytes += content
        pad()
    }

    private mutating func appendHexadecimal(_ number: UInt32) {
        let digits = Array("0123456789abcdef".utf8)
        for shift in stride(from: UInt32(28), through: 0, by: -4) {
            bytes.append(digits[Int(number >> shift & 15)])
        }
    }

    private mutating func pad() {
        while bytes.count % 4 != 0 { bytes.append(0) }
    }
}
