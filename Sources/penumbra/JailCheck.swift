// SPDX-License-Identifier: Apache-2.0
import PenumbraJail
import PenumbraMachine
import PenumbraSystem

/// Says which walls the jail of a VM's process has on this host.
struct JailCheck {
    let hasFilters: Bool
    /// Why a process cannot have a root of its own; nil: it can.
    let rootProblem: SystemError?
    let landlockVersion: Int?

    private static let name = "jail"

    /// Of this host, for VMs of this user.
    static func ofThisHost() throws -> JailCheck {
        // A directory that every host has; only the process that tries sees what it puts there.
        JailCheck(
            hasFilters: JailSupport.hasFilters, rootProblem: try JailSupport.rootProblem(at: "/dev"),
            landlockVersion: JailSupport.landlockVersion)
    }

    var check: Check {
        guard hasFilters else { return .failed(Self.name, "\(JailError.noFilters)", "see above") }
        switch (rootProblem, landlockVersion) {
        case (nil, let version?):
            return .ok(
                Self.name,
                "VMs' processes have a list of system calls, an empty root, and landlock (version \(version))"
            )
        case (nil, nil):
            return .warning(
                Self.name, "VMs' processes have a list of system calls and an empty root, but no landlock",
                "for a second wall around shares: boot with lsm=landlock,... (CONFIG_SECURITY_LANDLOCK)")
        case (let problem?, .some):
            return .warning(
                Self.name,
                "VMs' processes have a list of system calls and landlock, but no empty root: \(problem)",
                "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces")
        case (let problem?, nil):
            return .failed(Self.name, "\(JailError.noConfinement(problem))", "no VM runs until then")
        }
    }
}
