/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls by which a process gives up rights. Each is the call of its name, with its manual page's
 * meaning, errno and all; the numbers of system calls come with it (<sys/syscall.h>).
 */
#ifndef CJAIL_H
#define CJAIL_H

#include <linux/filter.h>
#include <linux/sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>

/* fork(2). Only of a process with one thread. */
pid_t jail_fork(void);

/* unshare(2): mounts, network, IPC and host name, with a user namespace of their own or without. */
int jail_unshare(int with_user_namespace);
int jail_mount_private(void);                                /* mount(2): nothing goes back to others */
int jail_mount_empty(const char *path);                      /* mount(2): a tmpfs of 64 KiB */
int jail_bind(const char *source, const char *target);       /* mount(2), MS_BIND and MS_REC */
/* mount_setattr(2), recursive: no devices, programs or set-user-ID; what is there stays if not read_only. */
int jail_restrict_mount(const char *path, int read_only);
int jail_change_root(const char *path);                      /* pivot_root(2), and the old one is gone */

/* setgroups(2), setresgid(2), setresuid(2); capabilities survive if `keep` says so (PR_SET_KEEPCAPS). */
int jail_set_user(uid_t user, gid_t group, int keep);
int jail_set_capabilities(uint64_t set);                     /* capset(2): permitted and effective */
int jail_bound_capabilities(uint64_t set);                   /* PR_CAPBSET_DROP of all others */
int jail_set_limit(int resource, uint64_t soft, uint64_t hard); /* setrlimit(2) */
int jail_seal_privileges(void);                              /* PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE 0 */
int jail_die_with_parent(void);                              /* PR_SET_PDEATHSIG, SIGKILL */

/* landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION; -1: the kernel has none. */
int jail_landlock_version(void);
/* landlock_create_ruleset(2), of as many rights as version `version` knows. */
int jail_landlock_ruleset(int version, uint64_t file_rights, uint64_t network_rights, uint64_t scopes);
int jail_landlock_allow(int ruleset, int directory, uint64_t file_rights); /* landlock_add_rule(2) */
int jail_landlock_restrict(int ruleset);                     /* landlock_restrict_self(2) */

/* seccomp(2), SECCOMP_SET_MODE_FILTER, for the calling thread and those that it makes. */
int jail_install_filter(const struct sock_filter *program, uint16_t count);
/* Whether seccomp(2) knows SECCOMP_RET_TRAP, without which there is no jail. */
int jail_has_filters(void);
/* A call that is refused ends the process with status 128 + SIGSYS, behind a line on standard error. */
int jail_report_violations(void);

#endif
