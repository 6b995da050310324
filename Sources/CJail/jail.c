// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CJail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

pid_t jail_fork(void)
{
	return fork();
}

/* ---- namespaces and mounts ---- */

int jail_unshare(int with_user_namespace)
{
	int namespaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

	return unshare(namespaces | (with_user_namespace ? CLONE_NEWUSER : 0));
}

int jail_mount_private(void)
{
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

int jail_mount_empty(const char *path)
{
	return mount("penumbra-jail", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=0755");
}

int jail_bind(const char *source, const char *target)
{
	return mount(source, target, NULL, MS_BIND | MS_REC, NULL);
}

int jail_restrict_mount(const char *path, int read_only)
{
	struct mount_attr attributes = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
			    (read_only ? MOUNT_ATTR_RDONLY : 0),
	};

	return (int)syscall(
		SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &attributes, sizeof(attributes));
}

int jail_change_root(const char *path)
{
	/* pivot_root(2), "pivot_root(".", ".")": the old root lies on the new one until it is unmounted. */
	if (chdir(path) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
		return -1;
	return chdir("/");
}

/* ---- rights ---- */

int jail_set_user(uid_t user, gid_t group, int keep)
{
	if (keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
		return -1;
	if (setgroups(0, NULL) || setresgid(group, group, group))
		return -1;
	return setresuid(user, user, user);
}

int jail_set_capabilities(uint64_t set)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	for (int half = 0; half < 2; half++)
		data[half].effective = data[half].permitted = (uint32_t)(set >> 32 * half);
	return (int)syscall(SYS_capset, &header, data);
}

int jail_bound_capabilities(uint64_t set)
{
	/* EINVAL: the kernel knows no more capabilities. */
	for (unsigned long number = 0; number < 64; number++)
		if (!(set >> number & 1) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0))
			return errno == EINVAL ? 0 : -1;
	return 0;
}

int jail_set_limit(int resource, uint64_t soft, uint64_t hard)
{
	struct rlimit limit = { .rlim_cur = soft, .rlim_max = hard };

	return setrlimit((__rlimit_resource_t)resource, &limit);
}

int jail_seal_privileges(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int jail_die_with_parent(void)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

/* ---- landlock ---- */

/* linux/landlock.h as of version 6; older headers know less of it. */
struct ruleset_attributes {
	uint64_t files, network, scopes;
};

/* The structure grew with version 4 (network) and 6 (scopes). */
static size_t ruleset_size(int version)
{
	if (version >= 6)
		return sizeof(struct ruleset_attributes);
	return version >= 4 ? offsetof(struct ruleset_attributes, scopes) :
			      offsetof(struct ruleset_attributes, network);
}

int jail_landlock_version(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

int jail_landlock_ruleset(int version, uint64_t file_rights, uint64_t network_rights, uint64_t scopes)
{
	struct ruleset_attributes attributes = { file_rights, network_rights, scopes };

	return (int)syscall(SYS_landlock_create_ruleset, &attributes, ruleset_size(version), 0);
}

int jail_landlock_allow(int ruleset, int directory, uint64_t file_rights)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = file_rights, .parent_fd = directory };

	return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

int jail_landlock_restrict(int ruleset)
{
	return (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
}

/* ---- seccomp ---- */

int jail_install_filter(const struct sock_filter *program, uint16_t count)
{
	struct sock_fprog filter = { .len = count, .filter = (struct sock_filter *)program };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

int jail_has_filters(void)
{
	uint32_t action = SECCOMP_RET_TRAP;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* Appends `value` in `base` to the text that ends at `end`; the new end. */
static char *append_number(char *end, unsigned long value, unsigned int base)
{
	char digits[20];
	int count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		*end++ = digits[--count];
	return end;
}

static char *append(char *end, const char *text)
{
	size_t length = strlen(text);

	memcpy(end, text, length);
	return end + length;
}

/* SIGSYS, from SECCOMP_RET_TRAP: the call was not made. Only what a signal handler may use. */
static void report_violation(int signal, siginfo_t *info, void *context)
{
	const greg_t *registers = ((const ucontext_t *)context)->uc_mcontext.gregs;
	char text[160];
	char *end = append(text, "penumbra: jail: refused system call ");

	(void)signal;
	end = append_number(end, (unsigned long)info->si_syscall, 10);
	end = append(end, " (x86-64), arguments 0x");
	end = append_number(end, (unsigned long)registers[REG_RDI], 16);
	end = append(end, " 0x");
	end = append_number(end, (unsigned long)registers[REG_RSI], 16);
	end = append(end, " 0x");
	end = append_number(end, (unsigned long)registers[REG_RDX], 16);
	end = append(end, ": the VM's process ends\n");
	/* Whoever reads may be gone: it ends all the same. */
	if (write(STDERR_FILENO, text, (size_t)(end - text)) < 0)
		end = text;
	syscall(SYS_exit_group, 128 + SIGSYS);
}

int jail_report_violations(void)
{
	struct sigaction action = { .sa_sigaction = report_violation, .sa_flags = SA_SIGINFO };

	sigfillset(&action.sa_mask);
	return sigaction(SIGSYS, &action, NULL);
}
