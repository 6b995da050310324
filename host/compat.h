/* SPDX-License-Identifier: GPL-2.0-only */
/* Every difference between kernel versions that the module cares about: 6.1 to 6.12. */
#ifndef PENUMBRA_COMPAT_H
#define PENUMBRA_COMPAT_H

#ifdef __ASSEMBLY__
#include <asm/alternative.h>
#include <asm/cpufeatures.h>
#include <asm/nospec-branch.h>

/*
 * Makes the host's returns safe from predictions that a guest trained (AMD's retbleed and SRSO),
 * where and how the host does. 6.2 has a macro for the way from a guest. Clobbers rax, rcx, rdx.
 */
	.macro COMPAT_UNTRAIN_RETURNS
#ifdef UNTRAIN_RET_VM
	UNTRAIN_RET_VM
#else
	UNTRAIN_RET
#ifdef X86_FEATURE_IBPB_ON_VMEXIT
	ALTERNATIVE "", "call entry_ibpb", X86_FEATURE_IBPB_ON_VMEXIT
#endif
#endif
	.endm

/* The branch history is a guest's: cleared where the host clears it by instructions. 6.9 and later stable versions. */
	.macro COMPAT_CLEAR_BRANCH_HISTORY
#ifdef X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT
	CLEAR_BRANCH_HISTORY_VMEXIT
#endif
	.endm
#else

#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/version.h>
#include <asm/cpufeature.h>
#include <asm/mce.h>
#include <asm/nospec-branch.h>
#include <asm/ptrace.h>

/* 6.8 dropped the count. */
static inline void compat_eventfd_signal(struct eventfd_ctx *context)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(context);
#else
	eventfd_signal(context, 1);
#endif
}

/* 6.12 hides the file in struct fd. */
#ifndef fd_file
#define fd_file(fd) ((fd).file)
#endif

/* 6.3 made vm_flags constant. */
static inline void compat_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

/* 6.4 traces IPIs, where smp_send_reschedule() is used. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#include <trace/events/ipi.h>
#endif

static inline void compat_vm_flags_clear(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_clear(vma, flags);
#else
	vma->vm_flags &= ~flags;
#endif
}

/* 6.6 dropped the CPU. */
static inline void compat_rcu_note_guest(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	rcu_virt_note_context_switch();
#else
	rcu_virt_note_context_switch(smp_processor_id());
#endif
}

/* ns that a thread was ready and another ran; kernels that do not count it have stolen nothing. */
static inline u64 compat_run_delay(const struct task_struct *task)
{
#ifdef CONFIG_SCHED_INFO
	return READ_ONCE(task->sched_info.run_delay);
#else
	return 0;
#endif
}

/* A machine check that arrived in ring 3: the kernel may recover as for a user process.
   Kernels without X86_MCE have no handler to call; #MC is not enabled there (CR4.MCE=0). */
static inline void compat_machine_check(void)
{
#ifdef CONFIG_X86_MCE
	struct pt_regs regs = { .cs = __USER_CS, .flags = X86_EFLAGS_IF };

	do_machine_check(&regs);
#endif
}

/* Vulnerabilities that kernels learned of after 6.1.0; those that do not know them do nothing either. */
static inline bool compat_bug_rfds(void)
{
#ifdef X86_BUG_RFDS
	return boot_cpu_has_bug(X86_BUG_RFDS);
#else
	return false;
#endif
}

static inline bool compat_bug_tsa(void)
{
#ifdef X86_BUG_TSA
	return boot_cpu_has_bug(X86_BUG_TSA);
#else
	return false;
#endif
}

/* The host executes VERW on its way to user mode. */
static inline bool compat_host_clears_buffers(void)
{
#ifdef X86_FEATURE_CLEAR_CPU_BUF
	return boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF);
#else
	return false;
#endif
}

/* Has the host execute IBPB before this CPU's next user mode; false: it knows no such thing (VMSCAPE). */
static inline bool compat_ibpb_before_user_mode(void)
{
#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	if (static_cpu_has(X86_FEATURE_IBPB_EXIT_TO_USER)) {
		this_cpu_write(x86_ibpb_exit_to_user, true);
		return true;
	}
#endif
	return false;
}

#endif
#endif
