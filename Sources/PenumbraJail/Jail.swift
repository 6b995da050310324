// SPDX-License-Identifier: Apache-2.0
import CJail
import Glibc
import PenumbraSystem
import Synchronization

/// Shuts a VM's process in, for the case that its guest gets hold of it: between the opening of all that
/// the VM needs and the guest's first instruction, while the process has one thread. In this order:
///
/// 1. Namespaces and an empty root (JailRoot), prepared early: shares are opened through it.
/// 2. Resource limits.
/// 3. No capability, or with root's shares the five that files of any owner take; not root but a user
///    of this process's own (JailUser); no new privileges, and nobody to trace it.
/// 4. Landlock, where the kernel has it.
/// 5. A list of system calls (ProcessRules), and shorter ones for each kind of thread (ThreadRole).
///
/// What is open stays open: sockets, disks, the VM. What the module does for them is limited to that VM.
///
/// Without 1 or 4 there is no jail, and no VM; where one of them is missing the other does, and
/// `penumbra doctor` says so.
public final class Jail {
    /// That a guest may share.
    public struct Directory: Equatable, Sendable {
        public let path: String
        public let isReadOnly: Bool

        public init(_ path: String, isReadOnly: Bool) { (self.path, self.isReadOnly) = (path, isReadOnly) }
    }

    private static let closed = Atomic<Bool>(false)

    /// Whether this process is in it.
    public static var isClosed: Bool { closed.load(ordering: .acquiring) }

    /// The directories, where they are to be opened from.
    public let directories: [Directory]
    private let root: JailRoot?
    /// Where landlock finds them when the jail is closed.
    private let inside: [Directory]
    private let parent = getppid()

    /// Where the process's keeper is (JailedProcess).
    public enum Keeper: Sendable {
        /// It is the parent, with which this process ends.
        case parent
        case elsewhere
    }

    /// Enters the namespaces; the process sees what it saw before.
    ///
    /// - Parameter path: any existing directory, such as one of the VM's user's; nothing is left there.
    public init(sharing directories: [Directory], at path: String) throws(JailError) {
        guard JailSupport.hasFilters else { throw .noFilters }
        try Self.requireOneThread()
        do throws(SystemError) {
            let root = try JailRoot(at: path, directories)
            (self.root, inside) = (root, root.shares)
            self.directories = root.shares.map { Directory(path + $0.path, isReadOnly: $0.isReadOnly) }
        } catch {
            guard Landlock.version != nil else { throw .noConfinement(error) }
            (root, inside) = (nil, directories)
            self.directories = directories
        }
    }

    /// A thread that is there already would keep its rights.
    private static func requireOneThread() throws(JailError) {
        let threads = Files.list("/proc/self/task").count
        guard threads == 1 else { throw .notAlone(threads: threads) }
    }

    /// Closes the door behind this process. There is no way back.
    public func close(keptBy keeper: Keeper) throws(JailError) {
        try Self.requireOneThread()
        let isPrivileged = root != nil || geteuid() == 0
        do throws(SystemError) { try root?.enter() } catch { throw .system(error) }
        try Privileges(isPrivileged: isPrivileged, hasShares: !inside.isEmpty).drop()
        if keeper == .parent { try dieWithParent() }
        do throws(SystemError) {
            if let version = Landlock.version { try Landlock.restrict(to: inside, version: version) }
            try check("sigaction", "SIGSYS", jail_report_violations())
            try FilterProgram(ProcessRules(hasShares: !inside.isEmpty).rules).install()
        } catch { throw .system(error) }
        Self.closed.store(true, ordering: .releasing)
    }

    /// After the change of user, which would take it back (prctl(2), PR_SET_PDEATHSIG).
    private func dieWithParent() throws(JailError) {
        do throws(SystemError) { try check("prctl", "PR_SET_PDEATHSIG", jail_die_with_parent()) } catch {
            throw .system(error)
        }
        // A death before that was not told.
        guard getppid() == parent else { exit(128 + SIGKILL) }
    }
}

/// What this host has for jails.
public enum JailSupport {
    public static var hasFilters: Bool { jail_has_filters() != 0 }

    /// Why a process of this user's cannot have a root of its own, built on the directory `path`; nil: it
    /// can. Another process tries: who is in a namespace does not leave it.
    public static func rootProblem(at path: String) throws(SystemError) -> SystemError? {
        let child = Int32(try retrying("fork", "") { Int(jail_fork()) })
        if child == 0 {
            do throws(SystemError) { _ = try JailRoot(at: path, []) } catch { _exit(error.code) }
            _exit(0)
        }
        let code = try ChildProcess.wait(for: child).exitCode
        return code == 0 ? nil : SystemError(call: "unshare", subject: "namespaces", code: code)
    }

    /// The version of landlock's interface; nil: the kernel has none.
    public static var landlockVersion: Int? { Landlock.version }
}
