// SPDX-License-Identifier: Apache-2.0
import CJail
import Glibc
import PenumbraSystem

/// Who root's VMs run as. Each has a user and a group of its own: this number plus its process's, so no
/// two processes that live at the same time have the same one, and nobody has to hand them out. The
/// numbers are of the range that systemd's "Users, Groups, UIDs and GIDs on systemd Systems" leaves
/// unused; Linux' process numbers are below 2^22.
public enum JailUser {
    public static let first: uid_t = 1_900_000_000

    public static func user(ofProcess process: pid_t) -> uid_t { first + uid_t(process) }
}

/// capabilities(7) by their numbers (linux/capability.h).
enum Capabilities {
    /// With which root's shares hold files of any owner: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD.
    static let sharing: UInt64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 27
    static let none: UInt64 = 0
}

/// Gives up what this process is, as far as the kernel does not need it.
struct Privileges {
    /// Threads at a time of a user that has this process only. The devices' own limits add up to fewer.
    private static let threadLimit: UInt64 = 1024

    /// It may change what it is: root, or alone in a user namespace.
    let isPrivileged: Bool
    let keptCapabilities: UInt64

    /// - Parameter hasShares: files of any owner are served, where that is possible.
    init(isPrivileged: Bool, hasShares: Bool) {
        self.isPrivileged = isPrivileged
        keptCapabilities = geteuid() == 0 && hasShares ? Capabilities.sharing : Capabilities.none
    }

    func drop() throws(JailError) {
        do throws(SystemError) {
            try limit()
            if isPrivileged {
                try check("prctl", "PR_CAPBSET_DROP", jail_bound_capabilities(keptCapabilities))
            }
        } catch { throw .system(error) }
        if geteuid() == 0 { try changeUser() }
        do throws(SystemError) {
            try check("capset", "", jail_set_capabilities(keptCapabilities))
            try check("prctl", "PR_SET_NO_NEW_PRIVS", jail_seal_privileges())
        } catch { throw .system(error) }
    }

    private func changeUser() throws(JailError) {
        let user = JailUser.user(ofProcess: getpid())
        do throws(SystemError) {
            try check("setresuid", "\(user)", jail_set_user(user, user, keptCapabilities == 0 ? 0 : 1))
            try check("setrlimit", "RLIMIT_NPROC", set(__RLIMIT_NPROC, Self.threadLimit))
        } catch { throw .staysRoot(error) }
    }

    /// No core file with a guest's memory in it; as many open files as there may be by now, and never
    /// more. A file's size has no limit (RLIMIT_FSIZE) but the disks' own and what shares are allowed.
    private func limit() throws(SystemError) {
        try check("setrlimit", "RLIMIT_CORE", set(RLIMIT_CORE, 0))
        var files = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
        try check("setrlimit", "RLIMIT_NOFILE", set(RLIMIT_NOFILE, UInt64(files.rlim_cur)))
    }

    private func set(_ resource: __rlimit_resource, _ limit: UInt64) -> Int32 {
        jail_set_limit(Int32(resource.rawValue), limit, limit)
    }
}

/// Of a call that returns -1 and sets errno.
func check(_ call: String, _ subject: String, _ result: @autoclosure () -> Int32) throws(SystemError) {
    guard result() == 0 else { throw SystemError(call: call, subject: subject, code: errno) }
}
