/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux calls that Swift's Glibc module does not show (it is built without _GNU_SOURCE).
 * Each is the call of its name, with its manual page's meaning, errno and all.
 */
#ifndef CLINUX_H
#define CLINUX_H

#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/xattr.h>

int linux_pipe_cloexec(int ends[2]);                                /* pipe2(2), O_CLOEXEC */
int linux_pidfd_open(pid_t process);                                /* pidfd_open(2) */
int linux_pidfd_send_signal(int process, int signal);               /* pidfd_send_signal(2) */
int linux_signalfd(const int *signals, size_t count);               /* blocks them; signalfd(2) */
int linux_send_descriptor(int socket, int descriptor);               /* with one byte: unix(7), SCM_RIGHTS */
int linux_receive_descriptor(int socket);                           /* waits; none came: errno is the byte, or EBADMSG */
int linux_eventfd(void);                                            /* eventfd(2), never waits */
int linux_timerfd(void);                                            /* timerfd_create(2), never waits */
int linux_timerfd_set(int timer, int milliseconds);                 /* timerfd_settime(2): once */
int linux_power_off(void);                                          /* reboot(2) */
/* Closes all descriptors from `first` on in the child, after the other actions. */
int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int first);
int linux_spawn_chdir(posix_spawn_file_actions_t *actions, const char *path);
int linux_spawn_set_flags(posix_spawnattr_t *attributes, int own_session);
int linux_memfd_sealed(const char *name, uint64_t size);            /* memfd_create(2), sealed in its size */
int linux_ioctl(int descriptor, unsigned long request, void *argument); /* ioctl(2) */
int linux_accept(int socket);                                       /* accept4(2), never waits */
pid_t linux_peer_process(int socket);                               /* getsockopt(2), SO_PEERCRED; -1: none */
/* posix_openpt(3) and what belongs to it: the master's descriptor, and the slave's path. */
int linux_open_terminal(char *path, size_t size);
int linux_set_window_size(int terminal, uint16_t rows, uint16_t columns); /* ioctl_tty(2), TIOCSWINSZ */
int linux_window_size(int terminal, uint16_t *rows, uint16_t *columns); /* ioctl_tty(2), TIOCGWINSZ */
/* preadv2(2), with RWF_NOWAIT if `no_wait`: EAGAIN, or less than all, where it would have to wait. */
ssize_t linux_preadv(int descriptor, const struct iovec *pieces, int count, uint64_t offset, int no_wait);
int linux_punch_hole(int descriptor, uint64_t offset, uint64_t length); /* fallocate(2), keeping the size */
/* openat2(2), O_PATH: the file itself, a symbolic link too, in the directory and on its mount. */
int linux_open_entry(int directory, const char *name);
int linux_open_root(const char *path);                              /* open(2), O_PATH, a directory */
int linux_chown(int descriptor, uid_t user, gid_t group);           /* fchownat(2), AT_EMPTY_PATH */
ssize_t linux_directory_entries(int directory, void *buffer, size_t size); /* getdents64(2) */
/* F_OFD_SETLK of fcntl_locking(2): whence SEEK_SET; length 0 is up to the end. */
int linux_set_lock(int file, short kind, uint64_t start, uint64_t length);
/* F_OFD_GETLK: puts in what is in the way; F_UNLCK: nothing. */
int linux_find_lock(int file, short *kind, uint64_t *start, uint64_t *length);
uint64_t linux_tsc(void);                                           /* the rdtsc instruction */

/* Calls `each` for every shared object of this process that has a path: dl_iterate_phdr(3). */
void linux_each_library(void (*each)(const char *path, void *context), void *context);

#endif
