// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraSystem

/// Files by paths of any bytes.
enum Tree {
    /// What lstat(2) says.
    static func information(_ path: [UInt8]) throws(SystemError) -> stat {
        var information = stat()
        try call("lstat", path) { Int(lstat($0, &information)) }
        return information
    }

    /// Names in a directory, sorted, without "." and "..".
    static func names(in path: [UInt8]) throws(SystemError) -> [[UInt8]] {
        guard let directory = opendir(cString(path)) else {
            throw SystemError(call: "opendir", subject: text(path), code: errno)
        }
        defer { closedir(directory) }
        var names: [[UInt8]] = []
        while let entry = readdir(directory) {
            // d_name ends with a zero byte within the entry (readdir(3)).
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != Array(".".utf8) && name != Array("..".utf8) { names.append(name) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }

    static func linkTarget(_ path: [UInt8]) throws(SystemError) -> [UInt8] {
        var target = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = try call("readlink", path) { readlink($0, &target, target.count) }
        return target.prefix(count).map { UInt8(bitPattern: $0) }
    }

    /// The path without links, "." and "..", of something that is there.
    static func resolved(_ path: [UInt8]) throws(SystemError) -> [UInt8] {
        // realpath(3) allocates the name, which ends with a zero byte and is ours to free.
        guard let name = realpath(cString(path), nil) else {
            throw SystemError(call: "realpath", subject: text(path), code: errno)
        }
        defer { free(name) }
        return (0..<strlen(name)).map { UInt8(bitPattern: name[$0]) }
    }

    static func open(_ path: [UInt8], _ flags: Int32, mode: mode_t = 0) throws(SystemError) -> Descriptor {
        let number = try call("open", path) { Int(Glibc.open($0, flags | O_CLOEXEC, mode)) }
        return Descriptor(adopting: Int32(number))
    }

    /// A call with a path for an argument; negative results throw.
    @discardableResult
    static func call(
        _ name: String, _ path: [UInt8], _ body: (UnsafePointer<CChar>) -> Int
    ) throws(SystemError) -> Int {
        let characters = cString(path)
        return try retrying(name, text(path)) { body(characters) }
    }

    static func cString(_ path: [UInt8]) -> [CChar] { path.map { CChar(bitPattern: $0) } + [0] }

    static func text(_ path: [UInt8]) -> String { String(decoding: path, as: UTF8.self) }

    static func join(_ directory: [UInt8], _ name: [UInt8]) -> [UInt8] {
        let slash = UInt8(ascii: "/")
        return directory + (directory.last == slash ? [] : [slash]) + name
    }
}
