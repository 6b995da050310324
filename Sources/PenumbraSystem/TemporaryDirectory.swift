// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A directory of our own, which goes with the value and takes all that is in it along.
public final class TemporaryDirectory: Sendable {
    public let path: String

    /// In `parent`; without one in TMPDIR, or /var/tmp.
    public init(in parent: String? = nil) throws(SystemError) {
        let parent = parent ?? environmentVariable("TMPDIR").flatMap { $0.isEmpty ? nil : $0 } ?? "/var/tmp"
        var template = Array("\(parent)/penumbra-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw SystemError(call: "mkdtemp", subject: parent, code: errno)
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    public func file(_ name: String) -> String { "\(path)/\(name)" }

    deinit { try? Files.removeForeignTree(path) }
}

extension Files {
    /// Removes a directory that others have filled, by rm(1): their names and depths are more than a path
    /// of ours can say. What rm complains of goes to standard error.
    public static func removeForeignTree(_ path: String) throws(SystemError) {
        _ = try ChildProcess.output("rm", ["-rf", "--", path])
    }
}
