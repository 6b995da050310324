// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CInit.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

_Static_assert(INIT_NEW_MOUNTS == CLONE_NEWNS && INIT_NEW_CGROUP == CLONE_NEWCGROUP &&
	       INIT_NEW_NAMES == CLONE_NEWUTS && INIT_NEW_IPC == CLONE_NEWIPC &&
	       INIT_NEW_PROCESSES == CLONE_NEWPID, "sched.h has these numbers");

const unsigned long INIT_READ_ONLY = MS_RDONLY, INIT_NO_SUID = MS_NOSUID, INIT_NO_DEVICES = MS_NODEV,
		    INIT_NO_EXECUTION = MS_NOEXEC, INIT_BIND = MS_BIND, INIT_REMOUNT = MS_REMOUNT,
		    INIT_RECURSIVE = MS_REC, INIT_PRIVATE = MS_PRIVATE;

/* ---- processes ---- */

pid_t init_fork(unsigned long namespaces)
{
	return (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, 0);
}

int init_unshare(int namespaces)
{
	return unshare(namespaces);
}

int init_setns(int descriptor, int namespaces)
{
	return setns(descriptor, namespaces);
}

int init_set_host_name(const char *name, size_t length)
{
	return sethostname(name, length);
}

int init_set_limit(int resource, uint64_t soft, uint64_t hard)
{
	struct rlimit limit = { .rlim_cur = soft, .rlim_max = hard };

	return setrlimit(resource, &limit);
}

int init_set_groups(const uint32_t *groups, size_t count)
{
	return setgroups(count, groups);
}

int init_bound_capabilities(uint64_t set)
{
	/* EINVAL: the kernel knows no more capabilities. */
	for (unsigned long number = 0; number < 64; number++)
		if (!(set >> number & 1) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0))
			return errno == EINVAL ? 0 : -1;
	return 0;
}

int init_set_capabilities(uint64_t set)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)set, .permitted = (uint32_t)set },
		{ .effective = (uint32_t)(set >> 32), .permitted = (uint32_t)(set >> 32) },
	};

	return init_bound_capabilities(set) ? -1 : (int)syscall(SYS_capset, &header, data);
}

int init_set_no_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int init_hide_from_tracers(void)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void init_close_range(unsigned first, unsigned last)
{
	syscall(SYS_close_range, first, last, 0);
}

void init_ignore_broken_pipes(void)
{
	signal(SIGPIPE, SIG_IGN);
}

int init_default_signals(void)
{
	/* The kernel's own, all zero: SIG_DFL. The C library would keep two signals to itself. */
	const unsigned long action[4] = { 0 };
	sigset_t none;

	for (int number = 1; number <= 64; number++)
		syscall(SYS_rt_sigaction, number, action, NULL, 8);
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- terminals ---- */

int init_open_terminal(const char *multiplexer, int *master, int *slave)
{
	int unlocked = 0;

	*master = open(multiplexer, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*master < 0)
		return -1;
	if (ioctl(*master, TIOCSPTLCK, &unlocked) == 0) {
		*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (*slave >= 0)
			return 0;
	}
	unlocked = errno;
	close(*master);
	errno = unlocked;
	return -1;
}

int init_set_window_size(int terminal, uint16_t rows, uint16_t columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };

	return ioctl(terminal, TIOCSWINSZ, &size);
}

int init_control_terminal(int terminal)
{
	return ioctl(terminal, TIOCSCTTY, 0);
}

int init_make_raw(int terminal)
{
	struct termios settings;

	if (tcgetattr(terminal, &settings))
		return -1;
	cfmakeraw(&settings);
	return tcsetattr(terminal, TCSANOW, &settings);
}

/* ---- file systems ---- */

int init_mount(const char *source, const char *target, const char *type, unsigned long flags,
	const char *options)
{
	return mount(source, target, type, flags, options);
}

int init_unmount(const char *target)
{
	return umount2(target, 0);
}

int init_detach_mount(const char *target)
{
	return umount2(target, MNT_DETACH);
}

int init_copy_mount(const char *path)
{
	return (int)syscall(
		SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
}

int init_attach_mount(int mount, const char *target)
{
	return (int)syscall(SYS_move_mount, mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}

/* The initial RAM disk's root cannot be pivoted away (pivot_root(2)): the new root goes on top of it. */
int init_change_root(int mount)
{
	if (fchdir(mount) || init_attach_mount(mount, "/") || chroot("."))
		return -1;
	return chdir("/");
}

int init_make_node(const char *path, unsigned mode, unsigned major, unsigned minor)
{
	return mknod(path, mode, makedev(major, minor));
}

unsigned init_major(uint64_t device)
{
	return major(device);
}

unsigned init_minor(uint64_t device)
{
	return minor(device);
}

int init_set_time(const char *path, int64_t seconds, int64_t nanoseconds)
{
	struct timespec times[2] = {
		{ .tv_sec = seconds, .tv_nsec = nanoseconds }, { .tv_sec = seconds, .tv_nsec = nanoseconds },
	};

	return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

/* ---- descriptors to and from other processes ---- */

int init_socket_pair(int ends[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
}

union descriptor_message {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int init_send_descriptor(int socket, int descriptor)
{
	union descriptor_message control = { { 0 } };
	char byte = 0;
	struct iovec piece = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &piece, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
	return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

ssize_t init_receive(int socket, void *bytes, size_t size, int *descriptor)
{
	union descriptor_message control;
	struct iovec piece = { .iov_base = bytes, .iov_len = size };
	struct msghdr message = {
		.msg_iov = &piece, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes),
	};
	ssize_t count = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = count > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	*descriptor = -1;
	if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(descriptor, CMSG_DATA(header), sizeof(int));
	return count;
}

/* ---- the kernel ---- */

int init_load_module(int file)
{
	return (int)syscall(SYS_finit_module, file, "", 0);
}

void init_power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
}

int init_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

unsigned init_interface_index(const char *name)
{
	return if_nametoindex(name);
}
