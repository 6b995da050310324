/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * penumbra.ko, shared by its files:
 *
 *   main.c      /dev/penumbra, VM and vCPU file descriptors, argument checks
 *   vm.c        a VM: its share of slot 261, guest RAM, the core's pool
 *   vcpu.c      a vCPU: the page, the descriptor tables, the run loop, timer and kicks
 *   world.c     one entry into the core's world and back, with interrupts off
 *   switch.S    the CR3 step of it
 *   barriers.c  barriers against transient execution: the choice, and those that are the module's
 *   watchdog.c  vCPUs that never come back from the core
 *   eventfd.c   eventfds to and from the guest
 *
 * Locks, outermost first: vcpu->mutex (a thread runs the vCPU), vm->lock (memory,
 * configuration), vm->event_lock (spinlock, interrupts off), running_lock (watchdog).
 */
#ifndef PENUMBRA_HOST_H
#define PENUMBRA_HOST_H

#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/jump_label.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/wait.h>
#include <asm/fpu/api.h>

#include <penumbra/barriers.h>
#include <penumbra/device.h>
#include <penumbra/exit.h>
#include <penumbra/image.h>
#include <penumbra/vcpu.h>
#include <penumbra/vm.h>

#define penumbra_err(fmt, ...) pr_err("penumbra: " fmt, ##__VA_ARGS__)

/* What a page-table entry of slot 261 may allow; always supervisor, never global. */
enum penumbra_protection {
	PENUMBRA_READ,
	PENUMBRA_WRITE,
	PENUMBRA_EXECUTE,
};

/* Which views a page of slot 261 belongs to. */
enum penumbra_view {
	PENUMBRA_FULL_VIEW,
	PENUMBRA_BOTH_VIEWS,
};

struct penumbra_vm_region {
	struct file *file;
	pgoff_t first_page;
	u32 first_frame, frame_count;
	bool readonly;
};

#define PENUMBRA_MAX_REGIONS 16
#define LDT_PAGES 16 /* 8192 descriptors, the hardware's limit */

struct penumbra_vm_host {
	struct mm_struct *mm; /* the creator; nobody else may use the VM */
	u64 number;           /* never used twice, from 1 */
	struct mutex lock;
	struct penumbra_vm *page;

	/* Slot 261. */
	u64 *full_table, *entry_table; /* third level: one entry per GiB */
	u64 *core_root, *core_root_la57;

	/* Guest memory. */
	struct penumbra_vm_region regions[PENUMBRA_MAX_REGIONS];
	unsigned int region_count;
	u64 **frame_table;        /* pages of the frame table, 512 entries each */
	struct page **frame_info; /* pages of frame info, or NULL */
	u32 frame_info_count;

	/* The core's memory. */
	struct page **pool; /* pool pages, then their descriptors */
	struct page **pool_descriptors;
	u64 **pool_table;
	struct page *state[PENUMBRA_CORE_STATE_PAGES];

	struct penumbra_vcpu_host *vcpu[PENUMBRA_MAX_VCPUS];

	spinlock_t event_lock;
	struct list_head events_to_guest;
	struct eventfd_ctx **events_from_guest; /* by port */

	long pinned_pages, pool_pages, table_pages;
};

enum penumbra_vcpu_mode { PENUMBRA_OUT, PENUMBRA_IN_GUEST };

struct penumbra_vcpu_host {
	struct penumbra_vm_host *vm;
	struct file *vm_file; /* keeps the VM while the vCPU lives */
	u32 id;
	struct mutex mutex;
	struct penumbra_vcpu *page;
	u64 page_address; /* of that page in slot 261 */
	struct penumbra_run *run;
	u64 *gdt_guest, *gdt_core, *idt;
	struct page *stack[PENUMBRA_VCPU_STACK_SIZE / PAGE_SIZE];
	struct page *ist[PENUMBRA_IST_COUNT];
	struct page *state[PENUMBRA_VCPU_STATE_SIZE / PAGE_SIZE];
	struct page *ldt[LDT_PAGES];
	u64 *bridge, *bridge_la57; /* top-level table, and what hangs under its last entry */

	struct fpu_guest fpu;
	wait_queue_head_t wait;
	struct hrtimer timer;
	int mode;    /* enum penumbra_vcpu_mode */
	int cpu;     /* while in guest mode */
	int tss_cpu; /* whose TSS descriptor our GDT holds */
	bool halted;
	u64 waited; /* ns that the thread that runs it has waited for a CPU, as last seen */

	/* Watchdog. */
	struct list_head running;
	unsigned long entered; /* jiffies */
	u64 seen_entries, seen_nmis;
	int overdue, unanswered; /* looks since; NMIs that the core took and did not leave after */
};

/* world.c: of this machine, found at load. */
struct penumbra_machine {
	u64 guest_cr4;      /* CR4 of the guest's world */
	u64 offered_xcr0;
	u64 host_xcr0;
	u64 syscall_mask; /* the host kernel's own MSR_SYSCALL_MASK */
	u32 vm_flags;       /* PENUMBRA_VM_* that every VM gets */
	u32 features;       /* PENUMBRA_FEATURE_* */
	u32 cpu_facts;      /* PENUMBRA_CPU_* */
	u32 barriers;       /* PENUMBRA_BARRIER_* in use */
	bool debug_store;   /* PEBS could write to linear addresses */
};
extern struct penumbra_machine penumbra_machine;

extern const u8 penumbra_core_image[], penumbra_core_image_end[];
static inline const struct penumbra_image_header *penumbra_image(void)
{
	return (const struct penumbra_image_header *)penumbra_core_image;
}

extern atomic_long_t penumbra_vms, penumbra_vcpus;
extern atomic_long_t penumbra_pinned_pages, penumbra_pool_pages, penumbra_table_pages;

/* vm.c */
struct penumbra_vm_host *penumbra_vm_create(const struct penumbra_create_vm *args);
void penumbra_vm_destroy(struct penumbra_vm_host *vm);
int penumbra_vm_add_region(struct penumbra_vm_host *vm, const struct penumbra_region *args);
int penumbra_vm_populate(struct penumbra_vm_host *vm, u64 first, u64 count);
int penumbra_vm_grow(struct penumbra_vm_host *vm);
int penumbra_vm_map(struct penumbra_vm_host *vm, u64 address, struct page *page,
		    enum penumbra_protection protection, enum penumbra_view view);
void penumbra_vm_kill(struct penumbra_vm_host *vm, u32 reason);
void penumbra_vm_kick_all(struct penumbra_vm_host *vm);
u64 penumbra_table_value(const void *table);

/* vcpu.c */
struct penumbra_vcpu_host *penumbra_vcpu_create(struct penumbra_vm_host *vm,
						const struct penumbra_create_vcpu *args);
void penumbra_vcpu_destroy(struct penumbra_vcpu_host *vcpu);
int penumbra_vcpu_run(struct penumbra_vcpu_host *vcpu);
void penumbra_vcpu_kick(struct penumbra_vcpu_host *vcpu);
static inline void penumbra_vcpu_attention(struct penumbra_vcpu_host *vcpu, int which)
{
	WRITE_ONCE(((u8 *)&vcpu->page->attention)[which], 1);
}
static inline u8 penumbra_vcpu_take_attention(struct penumbra_vcpu_host *vcpu, int which)
{
	return xchg(&((u8 *)&vcpu->page->attention)[which], 0);
}

/*
 * What the kernel does on the way to user mode and no guest may run before: a page that a
 * machine check found bad is taken away, a cgroup over its memory.high is slowed down. The
 * flag alone says less: it comes with every preemption (rseq).
 */
static inline bool penumbra_user_mode_work(void)
{
	if (!test_thread_flag(TIF_NOTIFY_RESUME))
		return false;
#ifdef CONFIG_MEMCG
	if (current->memcg_nr_pages_over_high)
		return true;
#endif
	return task_work_pending(current);
}

/* The thread must go back to its VMM. One look at the flags tells that there is nothing. */
#define PENUMBRA_TIF_RETURN (_TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL | _TIF_NOTIFY_RESUME)

static inline bool penumbra_must_return(void)
{
	return unlikely(read_thread_flags() & PENUMBRA_TIF_RETURN) &&
	       (signal_pending(current) || penumbra_user_mode_work());
}

/* world.c */
int penumbra_world_init(void);
/* Enters the core's world, with preemption and interrupts on; returns PENUMBRA_EXIT_*,
   or PENUMBRA_EXIT_NONE if there was work to do first. */
u32 penumbra_world_run(struct penumbra_vcpu_host *vcpu);
void penumbra_world_refresh_bridge(struct penumbra_vcpu_host *vcpu);

/* switch.S */
asmlinkage void penumbra_switch(struct penumbra_vcpu *page, u64 page_address, u64 bridge_cr3,
				u64 world_enter);
asmlinkage void penumbra_call_handler(unsigned long handler);
extern u64 penumbra_cr3_noflush;

/* barriers.c */
int penumbra_barriers_init(void);
DECLARE_STATIC_KEY_FALSE(penumbra_ibpb_vm);
DECLARE_STATIC_KEY_FALSE(penumbra_ibpb_vmm);
/* Before an entry, with interrupts off; on the way to the VMM. */
void penumbra_ibpb_between_vms(struct penumbra_vcpu_host *vcpu);
void penumbra_ibpb_before_vmm(struct penumbra_vcpu_host *vcpu);

/* watchdog.c */
int penumbra_watchdog_init(void);
void penumbra_watchdog_exit(void);
void penumbra_watchdog_add(struct penumbra_vcpu_host *vcpu);
void penumbra_watchdog_remove(struct penumbra_vcpu_host *vcpu);
void penumbra_watchdog_vm_created(void);

/* eventfd.c */
int penumbra_eventfd_set(struct penumbra_vm_host *vm, const struct penumbra_eventfd *args);
void penumbra_eventfd_release(struct penumbra_vm_host *vm);
void penumbra_eventfd_notify(struct penumbra_vm_host *vm, u64 port);
int penumbra_post(struct penumbra_vm_host *vm, u64 port);

#endif
