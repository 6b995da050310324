// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// A directory that goes with its last reference.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/penumbra-test.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw SystemError(call: "mkdtemp", subject: "/tmp", code: errno)
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        _ = try? ChildProcess.output("rm", ["-rf", path])
    }

    func write(_ text: String, to file: String) throws { try write(Array(text.utf8), to: file) }

    func write(_ bytes: [UInt8], to file: String) throws {
        let whole = "\(path)/\(file)"
        try Files.makeDirectories(String(whole[..<whole.lastIndex(of: "/")!]))
        try Files.write(bytes, to: whole)
    }
}
