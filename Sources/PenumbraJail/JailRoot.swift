// SPDX-License-Identifier: Apache-2.0
import CJail
import Glibc
import PenumbraSystem

/// A root directory with nothing in it but the shares, in namespaces of this process's own: of mounts, of
/// the network, in which there is none, of System V's IPC and of the host's name.
///
///     /                  a tmpfs, read-only
///     /shares/0 ...      the directories that the guest shares, without devices and set-user-ID
///     /proc/self/fd      with shares: the way by which files that are open are opened again
///
/// It is built on a directory of the old root, so that files that are opened there before it becomes the root
/// stay valid.
struct JailRoot {
    let path: String
    let shares: [Jail.Directory]
    /// Without root's rights, in a user namespace of its own.
    let isInUserNamespace: Bool

    private static let openFiles = "/proc/self/fd"

    /// - Parameter path: any directory; only this process sees what is put on it.
    init(at path: String, _ directories: [Jail.Directory]) throws(SystemError) {
        isInUserNamespace = try Self.enterNamespaces()
        self.path = path
        shares = directories.indices.map { number in
            Jail.Directory("/shares/\(number)", isReadOnly: directories[number].isReadOnly)
        }
        try check("mount", "/ private", jail_mount_private())
        try check("mount", path, jail_mount_empty(path))
        let places = shares.map(\.path) + (shares.isEmpty ? [] : [Self.openFiles])
        for place in places { try Files.makeDirectories(path + place) }
        // Read-only as long as nothing else is mounted there, which stays as it is.
        try check("mount_setattr", path, jail_restrict_mount(path, 1))
        for (directory, share) in zip(directories, shares) { try bind(directory, share.path) }
        if !shares.isEmpty { try bind(Jail.Directory(Self.openFiles, isReadOnly: false), Self.openFiles) }
    }

    private func bind(_ directory: Jail.Directory, _ place: String) throws(SystemError) {
        try check("mount", directory.path, jail_bind(directory.path, path + place))
        try check(
            "mount_setattr", directory.path,
            jail_restrict_mount(path + place, directory.isReadOnly ? 1 : 0))
    }

    /// True: with a user namespace, for who is not allowed to without.
    private static func enterNamespaces() throws(SystemError) -> Bool {
        if jail_unshare(0) == 0 { return false }
        let (user, group) = (geteuid(), getegid())
        try check("unshare", "namespaces", jail_unshare(1))
        // user_namespaces(7): who may map only himself has to give up setgroups(2) first.
        for (file, text) in [
            ("setgroups", "deny"), ("uid_map", "\(user) \(user) 1"), ("gid_map", "\(group) \(group) 1"),
        ] {
            try Descriptor(path: "/proc/self/\(file)", flags: O_WRONLY).write(Array(text.utf8))
        }
        return true
    }

    /// The old root is gone then.
    func enter() throws(SystemError) { try check("pivot_root", path, jail_change_root(path)) }
}
