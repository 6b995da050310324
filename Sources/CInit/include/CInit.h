/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux calls that only the guest's agent makes, for Swift. Each is the call of its name, with its
 * manual page's meaning, errno and all; what Swift's Glibc module does show is not here.
 */
#ifndef CINIT_H
#define CINIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- processes ---- */

enum {
	INIT_NEW_MOUNTS = 0x00020000,  /* CLONE_NEWNS */
	INIT_NEW_CGROUP = 0x02000000,  /* CLONE_NEWCGROUP */
	INIT_NEW_NAMES = 0x04000000,   /* CLONE_NEWUTS */
	INIT_NEW_IPC = 0x08000000,     /* CLONE_NEWIPC */
	INIT_NEW_PROCESSES = 0x20000000, /* CLONE_NEWPID */
};

/* fork(2) into new namespaces: clone(2). For a process of one thread. */
pid_t init_fork(unsigned long namespaces);
int init_unshare(int namespaces);                  /* unshare(2) */
int init_setns(int descriptor, int namespaces);    /* setns(2) */
int init_set_host_name(const char *name, size_t length);
int init_set_limit(int resource, uint64_t soft, uint64_t hard); /* setrlimit(2) */
int init_set_groups(const uint32_t *groups, size_t count);
int init_bound_capabilities(uint64_t set);         /* the bounding set */
int init_set_capabilities(uint64_t set);           /* that, the permitted and the effective one */
int init_set_no_new_privileges(void);
void init_close_range(unsigned first, unsigned last); /* close_range(2) */
int init_hide_from_tracers(void);                  /* prctl(2), PR_SET_DUMPABLE */
void init_ignore_broken_pipes(void);               /* signal(2), SIGPIPE */
int init_default_signals(void);                    /* all at their defaults, none blocked */

/* ---- terminals ---- */

/* A new terminal below the directory of a devpts: descriptors of both ends. */
int init_open_terminal(const char *multiplexer, int *master, int *slave);
int init_set_window_size(int terminal, uint16_t rows, uint16_t columns);
int init_control_terminal(int terminal);           /* TIOCSCTTY */
int init_make_raw(int terminal);

/* ---- file systems ---- */

int init_mount(const char *source, const char *target, const char *type, unsigned long flags,
	const char *options);
int init_unmount(const char *target);
int init_detach_mount(const char *target);         /* umount2(2), MNT_DETACH */
int init_copy_mount(const char *path);             /* open_tree(2), a copy: a descriptor */
int init_attach_mount(int mount, const char *target); /* move_mount(2) */
int init_change_root(int mount);                   /* a copy becomes "/" of the namespace */
int init_make_node(const char *path, unsigned mode, unsigned major, unsigned minor);
unsigned init_major(uint64_t device);
unsigned init_minor(uint64_t device);
/* The time of the last change, since 1970; a symbolic link's own. */
int init_set_time(const char *path, int64_t seconds, int64_t nanoseconds);

extern const unsigned long INIT_READ_ONLY, INIT_NO_SUID, INIT_NO_DEVICES, INIT_NO_EXECUTION, INIT_BIND,
	INIT_REMOUNT, INIT_RECURSIVE, INIT_PRIVATE;

/* ---- descriptors to and from other processes ---- */

int init_socket_pair(int ends[2]);                 /* SOCK_STREAM, close-on-exec */
int init_send_descriptor(int socket, int descriptor); /* with one byte */
/* Reads at most `size` bytes; *descriptor is one that came with them, or -1. */
ssize_t init_receive(int socket, void *bytes, size_t size, int *descriptor);

/* ---- the kernel ---- */

int init_load_module(int file);                    /* finit_module(2) */
void init_power_off(void);
int init_netlink(void);                            /* a NETLINK_ROUTE socket */
unsigned init_interface_index(const char *name);   /* 0: none */

#endif
