// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// Mounts and files, with errors that end a session or the configuration.
enum FileSystem {
    /// Mounts on a directory that is made where it is missing.
    static func mount(
        _ source: String, at target: String, type: String, _ flags: UInt = 0, options: String = ""
    ) throws(AgentFailure) {
        try makeDirectories(target)
        try check("mount", "\(source) on \(target) as \(type)") {
            Int(init_mount(source, target, type, flags, options))
        }
    }

    /// Another view of a mount: from now on read-only, or of other flags.
    static func remount(_ target: String, _ flags: UInt) throws(AgentFailure) {
        try check("remount", target) { Int(init_mount("none", target, "", INIT_REMOUNT | flags, "")) }
    }

    /// Shows a directory or a file at another place too.
    static func bind(_ source: String, at target: String) throws(AgentFailure) {
        try check("mount", "\(source) on \(target)") { Int(init_mount(source, target, "", INIT_BIND, "")) }
    }

    /// Makes what is missing on the way to a directory, with the links on the way followed.
    static func makeDirectories(_ path: String) throws(AgentFailure) {
        do throws(SystemError) { try Files.makeDirectories(path) } catch { throw AgentFailure(error) }
    }

    /// An empty file, unless there is something.
    static func makeFile(_ path: String) throws(AgentFailure) {
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            try makeDirectories(String(path[..<slash]))
        }
        // A link that leads nowhere would lead the kernel there too.
        var information = stat()
        if !Files.exists(path), lstat(path, &information) == 0 { unlink(path) }
        do throws(SystemError) {
            _ = try Descriptor(path: path, flags: O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, mode: 0o644)
        } catch { throw AgentFailure(error) }
    }

    /// Writes into a file of the kernel's.
    static func write(_ text: String, to path: String) throws(AgentFailure) {
        do throws(SystemError) {
            try Descriptor(path: path, flags: O_WRONLY).write(Array(text.utf8))
        } catch { throw AgentFailure(SystemError(call: "write", subject: path, code: error.code)) }
    }

    static func check(_ call: String, _ subject: String, _ body: () -> Int) throws(AgentFailure) {
        do throws(SystemError) { try retrying(call, subject, body) } catch { throw AgentFailure(error) }
    }

    /// Seconds until a device must be there.
    private static let patience = 10.0

    /// Opens what a driver is about to make: the device's node comes first, then what answers there.
    static func waiting<Value>(
        for device: String, _ open: () throws(SystemError) -> Value
    ) throws(AgentFailure) -> Value {
        let deadline = monotonicSeconds() + patience
        while true {
            do throws(SystemError) { return try open() } catch {
                let mayCome = error.code == ENOENT || error.code == ENXIO || error.code == ENODEV
                guard mayCome, monotonicSeconds() < deadline else { throw AgentFailure(error) }
            }
            usleep(1000)
        }
    }
}

extension AgentFailure {
    /// What has no kind of its own is a matter of setting up.
    init(_ error: SystemError) { self.init(.setup, error.description) }
}
