// SPDX-License-Identifier: Apache-2.0
import CJail
import CPenumbra
import Glibc
import PenumbraSystem

/// What a thread of a jailed VMM is there for, and so which system calls it may make. A filter cannot be
/// taken off: threads inherit their maker's, and add what their own role forbids.
public enum ThreadRole: CaseIterable, Sendable {
    /// Runs the guest's code (GuestRun).
    case virtualCPU
    /// Reads and writes disks.
    case disk
    /// Moves frames between the guest and passt.
    case network
    /// Serves shares.
    case share
    /// Writes the guest's console.
    case console

    /// Confines the calling thread, if this process is jailed. A thread that a thread of the same role made
    /// is confined already.
    public func confine() {
        guard Jail.isClosed else { return }
        do throws(SystemError) { try FilterProgram(rules).install() } catch {
            // Its maker's filter refuses another one: the same list is in force.
            if error.code == Self.inherited { return }
            fatalError("the jail of a thread cannot be closed: \(error)")
        }
    }

    private static let inherited = EPERM

    var rules: [SystemCallRule] {
        let own: [[SystemCallRule]] =
            switch self {
            case .virtualCPU: [RuleList.runningGuest, RuleList.events, RuleList.noFiles]
            case .disk: [RuleList.events, RuleList.diskTransfers, RuleList.newThreads, RuleList.noFiles]
            case .network: [RuleList.events, RuleList.connected, RuleList.noFiles]
            case .share:
                [RuleList.events, RuleList.diskTransfers, RuleList.sharedFiles, RuleList.newThreads]
            case .console: [RuleList.noFiles]
            }
        return own.flatMap(\.self) + RuleList.common + [.refuse(SYS_seccomp, Self.inherited)]
    }
}

/// What the whole process may do: all of its roles, and its first threads, which serve the guest's
/// consoles, xenstore and clients, and start the others.
struct ProcessRules {
    var hasShares: Bool

    var rules: [SystemCallRule] {
        let lists: [[SystemCallRule]] = [
            RuleList.runningGuest, RuleList.events, RuleList.common, RuleList.diskTransfers,
            RuleList.connected, RuleList.newThreads, RuleList.serving, RuleList.confining,
        ]
        return lists.flatMap(\.self) + (hasShares ? RuleList.sharedFiles : RuleList.noFiles)
    }
}

/// Whoever adds a call here says what needs it. None of these lists has one that makes a socket, starts
/// or signals another process, maps memory that can be executed, or opens a file where nothing is shared.
enum RuleList {
    private static func device(_ request: penumbra_ioctl) -> SystemCallRule {
        .allow(SYS_ioctl, where: .equals(1, UInt64(request.rawValue)))
    }

    private static func terminal(_ request: Int32) -> SystemCallRule {
        .allow(SYS_ioctl, where: .equals(1, UInt64(request)))
    }

    /// The module's calls on a VM that is complete: none makes a VM or gives one memory or CPUs.
    static let runningGuest = [device(PENUMBRA_IOCTL_RUN), device(PENUMBRA_IOCTL_KILL)]
    /// A device's: to and from the guest, and no more of it when the device is closed.
    static let events = [device(PENUMBRA_IOCTL_POST), device(PENUMBRA_IOCTL_SET_EVENTFD)]

    /// The C library's and Swift's: memory, locks, the thread's end, time, and what is open.
    static var common: [SystemCallRule] {
        [
            .allow(SYS_futex), .allow(SYS_read), .allow(SYS_write), .allow(SYS_poll), .allow(SYS_ppoll),
            .allow(SYS_mmap, where: .lowHalfLacks(2, UInt32(PROT_EXEC))),
            .allow(SYS_mprotect, where: .lowHalfLacks(2, UInt32(PROT_EXEC))),
            .allow(SYS_munmap), .allow(SYS_mremap), .allow(SYS_madvise), .allow(SYS_brk),
            .allow(SYS_close), .allow(SYS_clock_gettime), .allow(SYS_clock_nanosleep), .allow(SYS_nanosleep),
            .allow(SYS_getrandom), .allow(SYS_sched_yield), .allow(SYS_getpid), .allow(SYS_gettid),
            .allow(SYS_rt_sigprocmask), .allow(SYS_rt_sigreturn), .allow(SYS_restart_syscall),
            .allow(SYS_set_robust_list), .allow(SYS_rseq), .allow(SYS_exit), .allow(SYS_exit_group),
            // abort(3), of this very process: the caller knows its number when the jail is closed.
            .allow(SYS_tgkill, where: .lowHalfEquals(0, UInt32(getpid()))),
            // The first pthread_create(3) of a process, of the C library's own SIGSETXID.
            .allow(SYS_rt_sigaction, where: .lowHalfEquals(0, 33)),
            // malloc(3) counts CPUs, and looks into /sys and /proc if it cannot: it does without.
            .allow(SYS_sched_getaffinity), .refuse(SYS_prctl, EPERM),
        ]
    }

    /// Reads and writes at a position, which disks and shares have in common.
    static let diskTransfers: [SystemCallRule] = [
        .allow(SYS_preadv2), .allow(SYS_preadv), .allow(SYS_pread64), .allow(SYS_pwritev),
        .allow(SYS_pwritev2), .allow(SYS_pwrite64), .allow(SYS_fdatasync), .allow(SYS_fsync),
        .allow(SYS_fallocate), .allow(SYS_lseek), .allow(SYS_fstat),
    ]

    /// Connected sockets: nothing is sent to an address.
    static let connected: [SystemCallRule] = [
        .allow(SYS_sendto, where: .equals(4, 0)), .allow(SYS_recvfrom),
    ]

    /// pthread_create(3): exactly the flags by which it makes a thread. Those of clone3(2) cannot be seen by
    /// a filter; the C library uses clone(2) where there is none.
    static let newThreads: [SystemCallRule] = [
        .allow(SYS_clone, where: .equals(0, threadFlags)), .refuse(SYS_clone3, ENOSYS),
    ]
    static let threadFlags = UInt64(
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS
            | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

    /// New clients, a device's events, a terminal.
    static let serving: [SystemCallRule] = [
        .allow(SYS_accept4), .allow(SYS_timerfd_create), .allow(SYS_timerfd_settime), .allow(SYS_eventfd2),
        .allow(SYS_pipe2), .allow(SYS_shutdown),
        // A file from this process's keeper.
        .allow(SYS_recvmsg),
        // Always a new one: what is there keeps the signals it has.
        .allow(SYS_signalfd4, where: .lowHalfEquals(0, .max)),
        .allow(SYS_fcntl, where: .lowHalfEquals(1, UInt32(F_GETFL))),
        .allow(SYS_fcntl, where: .lowHalfEquals(1, UInt32(F_SETFL)), .lowHalfLacks(2, UInt32(O_ASYNC))),
        device(PENUMBRA_IOCTL_GET_COUNTERS), device(PENUMBRA_IOCTL_GET_INFO),
        // tcgetattr(3), tcsetattr(3): a terminal is given back as it was.
        terminal(TCGETS), terminal(TCSETS), terminal(TCSETSW), terminal(TCSETSF), terminal(TIOCGWINSZ),
    ]

    /// A thread adds its role's filter: seccomp(2), SECCOMP_SET_MODE_FILTER (1), without flags.
    static let confining: [SystemCallRule] = [
        .allow(SYS_seccomp, where: .equals(0, 1), .equals(1, 0))
    ]

    /// The C library tries some files and does without: free(3) asks /proc how memory is committed before it
    /// gives back that of a thread.
    static let noFiles: [SystemCallRule] = [
        .refuse(SYS_openat, EACCES), .refuse(SYS_open, EACCES), .refuse(SYS_newfstatat, EACCES),
    ]

    /// NinePServer's, in a root that has the shares only.
    static let sharedFiles: [SystemCallRule] = [
        .allow(SYS_openat), .allow(SYS_openat2), .refuse(SYS_open, EACCES), .allow(SYS_newfstatat),
        .allow(SYS_statx), .allow(SYS_fstatfs), .allow(SYS_getdents64), .allow(SYS_readlinkat),
        .allow(SYS_mkdirat), .allow(SYS_mknodat), .allow(SYS_symlinkat), .allow(SYS_linkat),
        .allow(SYS_renameat), .allow(SYS_renameat2), .allow(SYS_unlinkat), .allow(SYS_chmod),
        .allow(SYS_fchownat), .allow(SYS_utimensat), .allow(SYS_ftruncate), .allow(SYS_getxattr),
        .allow(SYS_setxattr), .allow(SYS_listxattr), .allow(SYS_removexattr),
        .allow(SYS_fcntl, where: .lowHalfEquals(1, UInt32(F_GETFL))),
        .allow(SYS_fcntl, where: .lowHalfEquals(1, openFileLock.set)),
        .allow(SYS_fcntl, where: .lowHalfEquals(1, openFileLock.get)),
    ]
    /// F_OFD_SETLK, F_OFD_GETLK (fcntl_locking(2)).
    private static let openFileLock: (set: UInt32, get: UInt32) = (37, 36)
}
