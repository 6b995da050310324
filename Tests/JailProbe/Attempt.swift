// SPDX-License-Identifier: Apache-2.0
import CJailProbe
import Glibc

/// What somebody would try who runs code of his own in a VM's process.
struct Attempt {
    let name: String
    let run: () -> Int

    init(_ name: String, _ run: @escaping () -> Int) { (self.name, self.run) = (name, run) }

    /// One system call.
    init(_ name: String, _ number: Int32, _ arguments: UInt64...) {
        self.init(name) { call(number, arguments) }
    }
}

/// What the kernel says: an error is a negative number.
func call(_ number: Int32, _ arguments: [UInt64]) -> Int {
    var all = arguments + Array(repeating: 0, count: 6 - arguments.count)
    return Int(probe_system_call(Int(number), &all))
}

/// A string that lives as long as the process, as an argument of a system call.
func address(_ text: String) -> UInt64 { UInt64(UInt(bitPattern: strdup(text))) }

private let here = UInt64(bitPattern: Int64(AT_FDCWD))
private let page: UInt64 = 4096
private let anonymous = UInt64(MAP_PRIVATE | MAP_ANONYMOUS)
private let everything = UInt64(PROT_READ | PROT_WRITE | PROT_EXEC)
/// Room for a structure that a call reads or fills.
private let room = UInt64(UInt(bitPattern: calloc(1, Int(page))))
private let parent = UInt64(getppid())
private let x32: Int32 = 0x4000_0000

var attempts: [Attempt] {
    [
        // Files.
        Attempt("open", SYS_openat, here, address("/etc/passwd"), UInt64(O_RDONLY)),
        Attempt("open-by-old-call", SYS_open, address("/etc/passwd"), UInt64(O_RDONLY)),
        Attempt("create", SYS_openat, here, address("/made"), UInt64(O_WRONLY | O_CREAT), 0o600),
        Attempt("open-up", SYS_openat, here, address("../../../etc/passwd"), UInt64(O_RDONLY)),
        Attempt("open-memory-of-parent", SYS_openat, here, address("/proc/\(getppid())/mem"), UInt64(O_RDWR)),
        Attempt("open-device", SYS_openat, here, address("/dev/penumbra"), UInt64(O_RDWR)),
        Attempt("open-by-handle", SYS_open_by_handle_at, here, room, UInt64(O_RDONLY)),
        Attempt("list-root", SYS_openat, here, address("/"), UInt64(O_RDONLY | O_DIRECTORY)),
        Attempt("remove", SYS_unlinkat, here, address("/etc/passwd"), 0),
        Attempt("remove-by-old-call", SYS_unlink, address("/etc/passwd")),
        Attempt("chdir", SYS_chdir, address("/")),
        Attempt("chroot", SYS_chroot, address("/")),
        Attempt("mount", SYS_mount, address("none"), address("/"), address("tmpfs"), 0, 0),
        Attempt("unmount", SYS_umount2, address("/"), UInt64(MNT_DETACH)),
        Attempt("pivot-root", SYS_pivot_root, address("/"), address("/")),
        Attempt("open-tree", SYS_open_tree, here, address("/"), 1),
        Attempt("memory-file", SYS_memfd_create, address("code"), 0),
        // Other processes.
        Attempt("signal-parent", SYS_kill, parent, UInt64(SIGCONT)),
        Attempt("signal-all", SYS_kill, UInt64(bitPattern: -1), UInt64(SIGCONT)),
        Attempt("signal-thread-of-parent", SYS_tgkill, parent, parent, UInt64(SIGCONT)),
        Attempt("signal-by-descriptor", SYS_pidfd_open, parent, 0),
        Attempt("queue-signal", SYS_rt_sigqueueinfo, parent, UInt64(SIGCONT), room),
        Attempt("trace", SYS_ptrace, 16, parent, 0, 0),
        Attempt("read-memory-of-parent", SYS_process_vm_readv, parent, room, 0, room, 0, 0),
        Attempt("fork", SYS_fork),
        Attempt("vfork", SYS_vfork),
        Attempt("clone-process", SYS_clone, UInt64(SIGCHLD), 0, 0, 0, 0),
        Attempt("clone-user-namespace", SYS_clone, 0x1000_0000 | UInt64(SIGCHLD), 0, 0, 0, 0),
        Attempt("clone3", SYS_clone3, room, 88),
        Attempt("execute", SYS_execve, address("/bin/true"), room, room),
        Attempt("execute-at", SYS_execveat, 0, address("/bin/true"), room, room, 0),
        Attempt("unshare", SYS_unshare, 0x1000_0000),
        Attempt("enter-namespace", SYS_setns, 0, 0),
        Attempt("set-limits-of-parent", SYS_prlimit64, parent, 7, room, 0),
        Attempt("set-user", SYS_setuid, 0),
        Attempt("set-capabilities", SYS_capset, room, room),
        Attempt("set-signal-handler", SYS_rt_sigaction, UInt64(SIGSYS), 0, 0, 8),
        // Sockets.
        Attempt("socket-inet", SYS_socket, UInt64(AF_INET), 1, 0),
        Attempt("socket-local", SYS_socket, UInt64(AF_UNIX), 1, 0),
        Attempt("socket-netlink", SYS_socket, 16, 3, 0),
        Attempt("socket-packet", SYS_socket, 17, 3, 0),
        Attempt("socket-pair", SYS_socketpair, UInt64(AF_UNIX), 1, 0, room),
        Attempt("connect", SYS_connect, 0, room, 16),
        Attempt("bind", SYS_bind, 0, room, 16),
        Attempt("listen", SYS_listen, 0, 1),
        Attempt("send-to-address", SYS_sendto, 0, room, 1, 0, room, 16),
        Attempt("send-descriptor", SYS_sendmsg, 0, room, 0),
        // Memory.
        Attempt("map-executable", SYS_mmap, 0, page, everything, anonymous, UInt64(bitPattern: -1), 0),
        Attempt("make-executable", SYS_mprotect, room & ~(page - 1), page, everything),
        Attempt("make-executable-by-key", SYS_pkey_mprotect, room & ~(page - 1), page, everything, 0),
        Attempt("personality", SYS_personality, 0x0400000),
        // The kernel.
        Attempt("load-bpf", SYS_bpf, 5, room, 72),
        Attempt("perf", SYS_perf_event_open, room, 0, UInt64(bitPattern: -1), UInt64(bitPattern: -1), 0),
        Attempt("load-module", SYS_finit_module, 0, room, 0),
        Attempt("kexec", SYS_kexec_load, 0, 0, 0, 0),
        Attempt("keyring", SYS_add_key, room, room, 0, 0, 0),
        Attempt("user-faults", SYS_userfaultfd, 0),
        Attempt("io-uring", SYS_io_uring_setup, 8, room),
        Attempt("another-filter", SYS_seccomp, 1, 1, room),
        // ioctl(2): TIOCSTI types into a terminal, FS_IOC_GETFLAGS is a file's.
        Attempt("ioctl-type", SYS_ioctl, 0, 0x5412, room),
        Attempt("ioctl-file", SYS_ioctl, 0, 0x8008_6601, room),
        Attempt("ioctl-create-vm", SYS_ioctl, 0, createVM, room),
        Attempt("ioctl-high-half", SYS_ioctl, 0, 1 << 32 | 0x5401, room),
        Attempt("fcntl-owner", SYS_fcntl, 0, 8, parent),
        // What some threads may do and others not.
        Attempt("accept", SYS_accept4, 0, 0, 0, 0),
        Attempt("read-at", SYS_pread64, UInt64(bitPattern: -1), room, 1, 0),
        Attempt("run-guest", SYS_ioctl, UInt64(bitPattern: -1), runGuest, 0),
        Attempt("notify-guest", SYS_ioctl, UInt64(bitPattern: -1), notifyGuest, 0),
        // Other doors.
        Attempt("x32", SYS_getpid | x32),
        Attempt("i386") { Int(probe_i386_call(20)) },
    ]
}
