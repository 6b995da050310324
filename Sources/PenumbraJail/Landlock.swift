// SPDX-License-Identifier: Apache-2.0
import CJail
import CLinux
import PenumbraSystem

/// What of the file system a process may reach, by the kernel's landlock(7): what is not allowed below a
/// directory is refused anywhere. A second wall behind the empty root, and the only one where that cannot
/// be had. It forbids new TCP connections and listeners too, and signals and abstract sockets of processes
/// outside, where the kernel knows how.
enum Landlock {
    /// linux/landlock.h. The version of the interface that has it stands behind.
    private enum Right {
        static let execute: UInt64 = 1 << 0
        static let readFile: UInt64 = 1 << 2
        static let readDirectory: UInt64 = 1 << 3
        /// 13 rights: execute, write, read, list, remove, and make each kind of file.
        static let version1: UInt64 = (1 << 13) - 1
        /// Moving and linking from one directory to another; 2.
        static let refer: UInt64 = 1 << 13
        /// 3
        static let truncate: UInt64 = 1 << 14
        /// 5
        static let deviceControl: UInt64 = 1 << 15
        /// bind(2) and connect(2) of TCP; 4.
        static let network: UInt64 = 1 << 0 | 1 << 1
        /// Abstract sockets, and signals, of others; 6.
        static let scopes: UInt64 = 1 << 0 | 1 << 1
    }

    /// Which version of it this kernel has; nil: none, or it is turned off.
    static var version: Int? {
        let version = jail_landlock_version()
        return version > 0 ? Int(version) : nil
    }

    /// Every right that this version can withhold.
    static func rights(version: Int) -> UInt64 {
        Right.version1 | (version >= 2 ? Right.refer : 0) | (version >= 3 ? Right.truncate : 0)
            | (version >= 5 ? Right.deviceControl : 0)
    }

    /// What a guest may do in a share: all but running programs and speaking to devices.
    static func rights(in share: Jail.Directory, version: Int) -> UInt64 {
        let all = rights(version: version) & ~(Right.execute | Right.deviceControl)
        return share.isReadOnly ? all & (Right.readFile | Right.readDirectory) : all
    }

    /// Restricts this thread and those that it makes. Needs PR_SET_NO_NEW_PRIVS.
    static func restrict(to shares: [Jail.Directory], version: Int) throws(SystemError) {
        let number = try retrying("landlock_create_ruleset", "version \(version)") {
            Int(
                jail_landlock_ruleset(
                    Int32(version), rights(version: version), version >= 4 ? Right.network : 0,
                    version >= 6 ? Right.scopes : 0))
        }
        let ruleset = Descriptor(adopting: Int32(number))
        for share in shares {
            let opened = try retrying("open", share.path) { Int(linux_open_root(share.path)) }
            let directory = Descriptor(adopting: Int32(opened))
            try retrying("landlock_add_rule", share.path) {
                Int(
                    jail_landlock_allow(
                        ruleset.number, directory.number, rights(in: share, version: version)))
            }
        }
        try retrying("landlock_restrict_self", "") { Int(jail_landlock_restrict(ruleset.number)) }
    }
}
