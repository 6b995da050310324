// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Why a VM's process cannot be shut in; the text is the user's message.
public enum JailError: Error, Equatable, CustomStringConvertible {
    case noFilters
    case noConfinement(SystemError)
    case staysRoot(SystemError)
    case notAlone(threads: Int)
    case system(SystemError)

    public var description: String {
        switch self {
        case .noFilters:
            "this kernel filters no system calls (CONFIG_SECCOMP_FILTER), so a VM's process cannot be "
                + "jailed: use another kernel"
        case .noConfinement(let error):
            "a VM's process can be kept from this host's files neither by a mount namespace (\(error)) nor by "
                + "landlock: allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
                + "user.max_user_namespaces), or boot with lsm=landlock,..."
        case .staysRoot(let error):
            "a VM's process cannot stop being root (\(error)): run as an ordinary user, or with CAP_SETUID "
                + "and a user namespace that has the users from \(JailUser.first) on"
        case .notAlone(let threads):
            "a process with \(threads) threads cannot be jailed: the others would stay outside"
        case .system(let error): "a VM's process cannot be jailed: \(error)"
        }
    }
}
