// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLinux.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

int linux_pipe_cloexec(int ends[2])
{
	return pipe2(ends, O_CLOEXEC);
}

int linux_pidfd_open(pid_t process)
{
	return (int)syscall(SYS_pidfd_open, process, 0);
}

int linux_pidfd_send_signal(int process, int signal)
{
	return (int)syscall(SYS_pidfd_send_signal, process, signal, NULL, 0);
}

int linux_signalfd(const int *signals, size_t count)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int linux_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

int linux_timerfd(void)
{
	return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
}

int linux_timerfd_set(int timer, int milliseconds)
{
	struct itimerspec once = { .it_value = { milliseconds / 1000, milliseconds % 1000 * 1000000L } };

	return timerfd_settime(timer, 0, &once, NULL);
}

int linux_power_off(void)
{
	sync();
	return reboot(RB_POWER_OFF);
}

int linux_spawn_chdir(posix_spawn_file_actions_t *actions, const char *path)
{
	return posix_spawn_file_actions_addchdir_np(actions, path);
}

int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int first)
{
	return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

/* A child with all signals unblocked and at their defaults, out of our process group. */
int linux_spawn_set_flags(posix_spawnattr_t *attributes, int own_session)
{
	short grouping = own_session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
	sigset_t set;

	sigemptyset(&set);
	posix_spawnattr_setsigmask(attributes, &set);
	sigfillset(&set);
	posix_spawnattr_setsigdefault(attributes, &set);
	return posix_spawnattr_setflags(
		attributes, grouping | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

int linux_memfd_sealed(const char *name, uint64_t size)
{
	int descriptor = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (descriptor < 0)
		return -1;
	if (ftruncate(descriptor, (off_t)size) == 0 &&
	    fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return descriptor;
	error = errno;
	close(descriptor);
	errno = error;
	return -1;
}

int linux_ioctl(int descriptor, unsigned long request, void *argument)
{
	return ioctl(descriptor, request, argument);
}

int linux_accept(int socket)
{
	return accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* A byte, and room for the descriptor that goes with it; without one the byte is the errno that says why. */
struct descriptor_message {
	unsigned char byte;
	struct iovec data;
	struct msghdr message;
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
};

static struct msghdr *descriptor_message(struct descriptor_message *it)
{
	memset(it, 0, sizeof(*it));
	it->data.iov_base = &it->byte;
	it->data.iov_len = 1;
	it->message.msg_iov = &it->data;
	it->message.msg_iovlen = 1;
	it->message.msg_control = &it->control;
	it->message.msg_controllen = sizeof(it->control);
	return &it->message;
}

int linux_send_descriptor(int socket, int descriptor)
{
	struct descriptor_message it;
	struct msghdr *message = descriptor_message(&it);
	struct cmsghdr *header = CMSG_FIRSTHDR(message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
	return sendmsg(socket, message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

int linux_receive_descriptor(int socket)
{
	struct descriptor_message it;
	struct msghdr *message = descriptor_message(&it);
	struct cmsghdr *header;
	int descriptor;

	if (recvmsg(socket, message, MSG_CMSG_CLOEXEC) < 0)
		return -1;
	header = CMSG_FIRSTHDR(message);
	if (!header || header->cmsg_type != SCM_RIGHTS) {
		errno = it.byte ? it.byte : EBADMSG;
		return -1;
	}
	memcpy(&descriptor, CMSG_DATA(header), sizeof(int));
	return descriptor;
}

pid_t linux_peer_process(int socket)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) ? -1 : peer.pid;
}

int linux_open_terminal(char *path, size_t size)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	int error;

	if (master < 0)
		return -1;
	error = ptsname_r(master, path, size);
	if (!error && !unlockpt(master))
		return master;
	error = error ? error : errno;
	close(master);
	errno = error;
	return -1;
}

int linux_set_window_size(int terminal, uint16_t rows, uint16_t columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };

	return ioctl(terminal, TIOCSWINSZ, &size);
}

int linux_window_size(int terminal, uint16_t *rows, uint16_t *columns)
{
	struct winsize size;

	if (ioctl(terminal, TIOCGWINSZ, &size))
		return -1;
	*rows = size.ws_row;
	*columns = size.ws_col;
	return 0;
}

ssize_t linux_preadv(int descriptor, const struct iovec *pieces, int count, uint64_t offset, int no_wait)
{
	ssize_t result = preadv2(descriptor, pieces, count, (off_t)offset, no_wait ? RWF_NOWAIT : 0);

	/* A file system that cannot tell beforehand would have to wait, for all that is known. */
	if (result < 0 && errno == EOPNOTSUPP)
		errno = EAGAIN;
	return result;
}

int linux_punch_hole(int descriptor, uint64_t offset, uint64_t length)
{
	return fallocate(
		descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
}

int linux_open_entry(int directory, const char *name)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};

	return (int)syscall(SYS_openat2, directory, name, &how, sizeof(how));
}

int linux_open_root(const char *path)
{
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int linux_chown(int descriptor, uid_t user, gid_t group)
{
	return fchownat(descriptor, "", user, group, AT_EMPTY_PATH);
}

ssize_t linux_directory_entries(int directory, void *buffer, size_t size)
{
	return getdents64(directory, buffer, size);
}

int linux_set_lock(int file, short kind, uint64_t start, uint64_t length)
{
	struct flock lock = { .l_type = kind, .l_whence = SEEK_SET };

	lock.l_start = (off_t)start;
	lock.l_len = (off_t)length;
	return fcntl(file, F_OFD_SETLK, &lock);
}

int linux_find_lock(int file, short *kind, uint64_t *start, uint64_t *length)
{
	struct flock lock = { .l_type = *kind, .l_whence = SEEK_SET };

	lock.l_start = (off_t)*start;
	lock.l_len = (off_t)*length;
	if (fcntl(file, F_OFD_GETLK, &lock))
		return -1;
	*kind = lock.l_type;
	if (lock.l_type != F_UNLCK) {
		*start = (uint64_t)lock.l_start;
		*length = (uint64_t)lock.l_len;
	}
	return 0;
}

uint64_t linux_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

struct each_library {
	void (*each)(const char *path, void *context);
	void *context;
};

static int pass_library(struct dl_phdr_info *info, size_t size, void *argument)
{
	struct each_library *list = argument;

	(void)size;
	if (info->dlpi_name[0] == '/')
		list->each(info->dlpi_name, list->context);
	return 0;
}

void linux_each_library(void (*each)(const char *path, void *context), void *context)
{
	struct each_library list = { each, context };

	dl_iterate_phdr(pass_library, &list);
}
