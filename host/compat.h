/* SPDX-License-Identifier: GPL-2.0-only */
/* Every difference between kernel versions that the module cares about: 6.1 to 6.12. */
#ifndef PENUMBRA_COMPAT_H
#define PENUMBRA_COMPAT_H

#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/smp.h>
#include <linux/version.h>
#include <asm/mce.h>
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

/* A machine check that arrived in ring 3: the kernel may recover as for a user process.
   Kernels without X86_MCE have no handler to call; #MC is not enabled there (CR4.MCE=0). */
static inline void compat_machine_check(void)
{
#ifdef CONFIG_X86_MCE
	struct pt_regs regs = { .cs = __USER_CS, .flags = X86_EFLAGS_IF };

	do_machine_check(&regs);
#endif
}

#endif
