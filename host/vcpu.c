// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: its stride in slot 261, and the thread that runs it. The loop enters the core's
 * world (world.c) and serves the exits that are the host's business; the others go to the
 * VMM through the run page.
 *
 * Waking (also docs/interfaces.md): a raiser stores what it has to say (attention byte,
 * dead, a signal), fences, and then looks at `mode`: IN_GUEST gets a reschedule IPI, whose
 * interrupt makes the guest exit; otherwise the wait queue is woken. The runner stores
 * IN_GUEST, fences, and then looks at all of these before it enters.
 */
#include <linux/math64.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <asm/debugreg.h>
#include <asm/desc.h>
#include <asm/msr.h>
#include <asm/trapnr.h>

#include "compat.h"
#include "penumbra.h"

#define GFP_VCPU (GFP_KERNEL_ACCOUNT | __GFP_ZERO)
#define NO_DEADLINE (~0ull)
#define BRIDGE_ORDER 1 /* 8 KiB aligned: the host's NMI entry reads bit 12 of CR3 (PTI) */

/* ---- descriptor tables ---- */

/* Segment descriptors, SDM vol. 3, 3.4.5: flat, present, accessed. */
#define CODE64_RING0 0x00af9b000000ffffull
#define DATA_RING0 0x00cf93000000ffffull
#define CODE32_RING3 0x00cffb000000ffffull
#define DATA_RING3 0x00cff3000000ffffull
#define CODE64_RING3 0x00affb000000ffffull
#define TYPE_TSS_AVAILABLE 0x89ull

static void set_system_descriptor(u64 *slot, u64 base, u32 limit, u64 type)
{
	slot[0] = (limit & 0xffff) | (base & 0xffffff) << 16 | type << 40 |
		  (u64)(limit >> 16 & 0xf) << 48 | (base >> 24 & 0xff) << 56;
	slot[1] = base >> 32;
}

static void make_gdt(struct penumbra_vcpu_host *vcpu)
{
	u64 *core = vcpu->gdt_core;
	u64 tss = vcpu->page_address + offsetof(struct penumbra_vcpu, tss);

	vcpu->gdt_guest[PENUMBRA_SEL_CORE_CS / 8] = CODE64_RING0;
	vcpu->gdt_guest[PENUMBRA_SEL_CORE_SS / 8] = DATA_RING0;
#define CORE_SLOT(selector) (((selector) - PENUMBRA_VCPU_GDT_CORE) / 8)
	core[CORE_SLOT(PENUMBRA_SEL_GUEST_CS32)] = CODE32_RING3;
	core[CORE_SLOT(PENUMBRA_SEL_GUEST_SS)] = DATA_RING3;
	core[CORE_SLOT(PENUMBRA_SEL_GUEST_CS)] = CODE64_RING3;
	set_system_descriptor(&core[CORE_SLOT(PENUMBRA_SEL_CORE_TSS)], tss,
			      sizeof(struct penumbra_tss) - 1, TYPE_TSS_AVAILABLE);
}

static u8 interrupt_stack_of(int vector)
{
	switch (vector) {
	case X86_TRAP_DF:
		return PENUMBRA_IST_DF;
	case X86_TRAP_NMI:
		return PENUMBRA_IST_NMI;
	case X86_TRAP_DB:
		return PENUMBRA_IST_DB;
	case X86_TRAP_MC:
		return PENUMBRA_IST_MCE;
	default:
		return 0;
	}
}

/* Interrupt gates (SDM vol. 3, 6.14.1); int3 and into are the guest's to use directly. */
static void make_idt(struct penumbra_vcpu_host *vcpu)
{
	int vector;

	for (vector = 0; vector < 256; vector++) {
		u64 stub = penumbra_image()->interrupt_stubs + vector * PENUMBRA_STUB_STRIDE;
		u64 dpl = vector == X86_TRAP_BP || vector == X86_TRAP_OF ? 3 : 0;

		vcpu->idt[2 * vector] = (stub & 0xffff) | (u64)PENUMBRA_SEL_CORE_CS << 16 |
					(u64)interrupt_stack_of(vector) << 32 |
					(0x8e | dpl << 5) << 40 | (stub >> 16 & 0xffff) << 48;
		vcpu->idt[2 * vector + 1] = stub >> 32;
	}
}

static void make_tss(struct penumbra_vcpu_host *vcpu, u64 base)
{
	struct penumbra_tss *tss = &vcpu->page->tss;
	u64 rsp0 = vcpu->page_address + sizeof(struct penumbra_frame);
	int i;

	tss->rsp0_low = rsp0;
	tss->rsp0_high = rsp0 >> 32;
	for (i = 0; i < PENUMBRA_IST_COUNT; i++) {
		u64 top = base + PENUMBRA_VCPU_IST + i * PENUMBRA_VCPU_IST_STRIDE + PAGE_SIZE;

		tss->ist[2 * i] = top;
		tss->ist[2 * i + 1] = top >> 32;
	}
	tss->io_map_base = sizeof(*tss); /* beyond the limit: no port is the guest's */
}

/* ---- creation ---- */

static int map_new_page(struct penumbra_vm_host *vm, u64 address, struct page **page,
			enum penumbra_view view)
{
	*page = alloc_page(GFP_VCPU);
	if (!*page)
		return -ENOMEM;
	return penumbra_vm_map(vm, address, *page, PENUMBRA_WRITE, view);
}

static int map_new_memory(struct penumbra_vm_host *vm, u64 address, void *memory)
{
	struct page *page;
	int error = map_new_page(vm, address, &page, PENUMBRA_BOTH_VIEWS);

	if (page)
		*(void **)memory = page_address(page);
	return error;
}

/* Selectors between the guest's first GDT page and ours read as empty descriptors. */
static int map_empty_gdt(struct penumbra_vm_host *vm, u64 base)
{
	u64 offset;
	int error = 0;

	for (offset = PAGE_SIZE; offset < PENUMBRA_VCPU_GDT_CORE && !error; offset += PAGE_SIZE)
		error = penumbra_vm_map(vm, base + PENUMBRA_VCPU_GDT + offset, ZERO_PAGE(0),
					PENUMBRA_READ, PENUMBRA_BOTH_VIEWS);
	return error;
}

static int map_stride(struct penumbra_vcpu_host *vcpu, u64 base)
{
	struct penumbra_vm_host *vm = vcpu->vm;
	int i, error;

	error = map_new_memory(vm, base + PENUMBRA_VCPU_GDT, &vcpu->gdt_guest);
	if (!error)
		error = map_empty_gdt(vm, base);
	if (!error)
		error = map_new_memory(vm, base + PENUMBRA_VCPU_GDT_CORE, &vcpu->gdt_core);
	if (!error)
		error = map_new_memory(vm, base + PENUMBRA_VCPU_IDT, &vcpu->idt);
	if (!error)
		error = map_new_memory(vm, base + PENUMBRA_VCPU_PAGE, &vcpu->page);
	for (i = 0; i < PENUMBRA_IST_COUNT && !error; i++)
		error = map_new_page(vm, base + PENUMBRA_VCPU_IST + i * PENUMBRA_VCPU_IST_STRIDE,
				     &vcpu->ist[i], PENUMBRA_BOTH_VIEWS);
	for (i = 0; i < ARRAY_SIZE(vcpu->stack) && !error; i++)
		error = map_new_page(vm, base + PENUMBRA_VCPU_STACK + i * PAGE_SIZE,
				     &vcpu->stack[i], PENUMBRA_FULL_VIEW);
	for (i = 0; i < ARRAY_SIZE(vcpu->state) && !error; i++)
		error = map_new_page(vm, base + PENUMBRA_VCPU_STATE + i * PAGE_SIZE,
				     &vcpu->state[i], PENUMBRA_FULL_VIEW);
	for (i = 0; i < ARRAY_SIZE(vcpu->ldt) && !error; i++)
		error = map_new_page(vm, base + PENUMBRA_VCPU_LDT + i * PAGE_SIZE, &vcpu->ldt[i],
				     PENUMBRA_BOTH_VIEWS);
	if (error)
		return error;
	vcpu->run = (struct penumbra_run *)get_zeroed_page(GFP_VCPU);
	if (!vcpu->run)
		return -ENOMEM;
	return penumbra_vm_map(vm, PENUMBRA_CORE_RUN_PAGES + (u64)vcpu->id * PAGE_SIZE,
			       virt_to_page(vcpu->run), PENUMBRA_WRITE, PENUMBRA_FULL_VIEW);
}

static int make_bridge(struct penumbra_vcpu_host *vcpu)
{
	vcpu->bridge = (u64 *)__get_free_pages(GFP_VCPU, BRIDGE_ORDER);
	if (!vcpu->bridge)
		return -ENOMEM;
	vcpu->page->bridge_cr3 = __sme_set(__pa(vcpu->bridge));
	if (!(penumbra_machine.vm_flags & PENUMBRA_VM_LA57))
		return 0;
	vcpu->bridge_la57 = (u64 *)get_zeroed_page(GFP_VCPU);
	return vcpu->bridge_la57 ? 0 : -ENOMEM;
}

static void set_page(struct penumbra_vcpu_host *vcpu, u64 base,
		     const struct penumbra_create_vcpu *args)
{
	struct penumbra_vcpu *page = vcpu->page;
	const struct penumbra_vm *vm = vcpu->vm->page;

	page->self = vcpu->page_address;
	page->id = vcpu->id;
	page->stuck = ~0u;
	page->stack_top = base + PENUMBRA_VCPU_STACK + PENUMBRA_VCPU_STACK_SIZE;
	page->cr3_kernel = vm->core_root;
	page->cr3_core = vm->flags & PENUMBRA_VM_RESTRICTED ? vm->core_root : 0;
	page->guest_mode = PENUMBRA_MODE_KERNEL;
	page->guest_cr4 = penumbra_machine.guest_cr4;
	page->offered_xcr0 = penumbra_machine.offered_xcr0;
	page->xcr0 = penumbra_machine.offered_xcr0;
	page->deadline = page->armed_deadline = NO_DEADLINE;
	page->gdtr.base = base + PENUMBRA_VCPU_GDT;
	page->gdtr.limit = PENUMBRA_GDT_LIMIT;
	page->idtr.base = base + PENUMBRA_VCPU_IDT;
	page->idtr.limit = 256 * 16 - 1;
	page->tss_descriptor = base + PENUMBRA_VCPU_GDT + PENUMBRA_SEL_CORE_TSS;
	page->host_tss_descriptor = base + PENUMBRA_VCPU_GDT + PENUMBRA_SEL_HOST_TSS;
	page->debug_register[6] = DR6_RESERVED;
	page->debug_register[7] = 0x400;
	page->start.rip = args->rip;
	page->start.rsp = args->rsp;
	page->start.rsi = args->rsi;
	page->start.rdi = args->rdi;
	page->start.root_frame = args->root_frame;
	page->start.info_address = args->info_address;
}

static enum hrtimer_restart timer_fired(struct hrtimer *timer)
{
	struct penumbra_vcpu_host *vcpu = container_of(timer, struct penumbra_vcpu_host, timer);

	WRITE_ONCE(vcpu->page->armed_deadline, NO_DEADLINE);
	penumbra_vcpu_attention(vcpu, PENUMBRA_ATTENTION_TIMER);
	penumbra_vcpu_kick(vcpu);
	return HRTIMER_NORESTART;
}

/* Only vCPU 0 starts by itself; the guest starts the others, and they sleep until then. */
struct penumbra_vcpu_host *penumbra_vcpu_create(struct penumbra_vm_host *vm,
						const struct penumbra_create_vcpu *args)
{
	struct penumbra_vcpu_host *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);
	u64 base = PENUMBRA_CORE_VCPUS + (u64)args->id * PENUMBRA_VCPU_STRIDE;
	int error;

	if (!vcpu)
		return ERR_PTR(-ENOMEM);
	vcpu->vm = vm;
	vcpu->id = args->id;
	vcpu->page_address = base + PENUMBRA_VCPU_PAGE;
	vcpu->tss_cpu = -1;
	vcpu->halted = args->id != 0;
	mutex_init(&vcpu->mutex);
	init_waitqueue_head(&vcpu->wait);
	INIT_LIST_HEAD(&vcpu->running);
	hrtimer_init(&vcpu->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	vcpu->timer.function = timer_fired;
	atomic_long_inc(&penumbra_vcpus);

	error = map_stride(vcpu, base);
	if (!error)
		error = make_bridge(vcpu);
	if (!error && !fpu_alloc_guest_fpstate(&vcpu->fpu))
		error = -ENOMEM;
	if (error) {
		penumbra_vcpu_destroy(vcpu);
		return ERR_PTR(error);
	}
	make_gdt(vcpu);
	make_idt(vcpu);
	make_tss(vcpu, base);
	set_page(vcpu, base, args);
	if (args->id == 0)
		penumbra_vcpu_attention(vcpu, PENUMBRA_ATTENTION_START);
	return vcpu;
}

static void free_pages_of(struct page **pages, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (pages[i])
			__free_page(pages[i]);
}

/* Also takes a vCPU whose creation stopped half-way. */
void penumbra_vcpu_destroy(struct penumbra_vcpu_host *vcpu)
{
	hrtimer_cancel(&vcpu->timer);
	if (vcpu->fpu.fpstate)
		fpu_free_guest_fpstate(&vcpu->fpu);
	free_page((unsigned long)vcpu->gdt_guest);
	free_page((unsigned long)vcpu->gdt_core);
	free_page((unsigned long)vcpu->idt);
	free_page((unsigned long)vcpu->page);
	free_page((unsigned long)vcpu->run);
	free_page((unsigned long)vcpu->bridge_la57);
	free_pages((unsigned long)vcpu->bridge, BRIDGE_ORDER);
	free_pages_of(vcpu->ist, ARRAY_SIZE(vcpu->ist));
	free_pages_of(vcpu->stack, ARRAY_SIZE(vcpu->stack));
	free_pages_of(vcpu->state, ARRAY_SIZE(vcpu->state));
	free_pages_of(vcpu->ldt, ARRAY_SIZE(vcpu->ldt));
	kfree(vcpu);
	atomic_long_dec(&penumbra_vcpus);
}

/* ---- time ---- */

/* The guest's clock as it computes it itself, see struct penumbra_clock. */
static u64 guest_now(const struct penumbra_clock *clock)
{
	u64 ticks = rdtsc_ordered() - clock->tsc_base;

	ticks = clock->shift < 0 ? ticks >> -clock->shift : ticks << clock->shift;
	return mul_u64_u32_shr(ticks, clock->mul, 32);
}

/* Armed by distance: the guest's clock is the TSC's, the host's is disciplined. */
static void arm_timer(struct penumbra_vcpu_host *vcpu)
{
	u64 deadline = READ_ONCE(vcpu->page->deadline);
	u64 now;

	if (deadline == READ_ONCE(vcpu->page->armed_deadline))
		return;
	hrtimer_cancel(&vcpu->timer);
	WRITE_ONCE(vcpu->page->armed_deadline, deadline);
	if (deadline == NO_DEADLINE)
		return;
	now = guest_now(&vcpu->vm->page->clock);
	hrtimer_start(&vcpu->timer,
		      ktime_add_ns(ktime_get(), deadline > now ? min_t(u64, deadline - now, KTIME_MAX / 4) : 0),
		      HRTIMER_MODE_ABS);
}

/* ---- waking ---- */

void penumbra_vcpu_kick(struct penumbra_vcpu_host *vcpu)
{
	int cpu;

	smp_mb(); /* what the caller has to say, before the look at the mode */
	preempt_disable();
	if (READ_ONCE(vcpu->mode) == PENUMBRA_IN_GUEST) {
		cpu = READ_ONCE(vcpu->cpu);
		if (cpu != smp_processor_id())
			smp_send_reschedule(cpu);
	}
	preempt_enable();
	wake_up(&vcpu->wait);
}

static void acknowledge(void *unused)
{
}

/*
 * With `waits` the core wants these vCPUs out of guest mode, so that what they hold in their
 * TLBs is gone when this returns: every entry into the world begins with a full flush, so one
 * interrupt that has been taken is enough.
 */
static void kick_others(struct penumbra_vcpu_host *from, u64 mask, bool waits)
{
	struct penumbra_vm_host *vm = from->vm;
	u32 id;

	for (id = 0; id < PENUMBRA_MAX_VCPUS; id++) {
		struct penumbra_vcpu_host *vcpu = READ_ONCE(vm->vcpu[id]);

		if (!vcpu || vcpu == from || !(mask >> id & 1))
			continue;
		if (!waits) {
			penumbra_vcpu_kick(vcpu);
			continue;
		}
		smp_mb();
		if (READ_ONCE(vcpu->mode) == PENUMBRA_IN_GUEST)
			smp_call_function_single(READ_ONCE(vcpu->cpu), acknowledge, NULL, 1);
		else
			wake_up(&vcpu->wait);
	}
}

/* ---- the run loop ---- */

static bool has_work(struct penumbra_vcpu_host *vcpu)
{
	return READ_ONCE(vcpu->page->attention) || READ_ONCE(vcpu->vm->page->dead);
}

static int wait_for_work(struct penumbra_vcpu_host *vcpu)
{
	arm_timer(vcpu);
	vcpu->halted = true;
	if (wait_event_interruptible(vcpu->wait, has_work(vcpu)))
		return -EINTR;
	vcpu->halted = false;
	return 0;
}

static void report_crash(struct penumbra_vcpu_host *vcpu)
{
	struct penumbra_run *run = vcpu->run;
	const struct penumbra_vcpu *page = vcpu->page;

	run->crash_reason = page->crash_reason;
	run->crash_rip = page->crash_rip;
	run->crash_cr2 = page->crash_cr2;
	run->crash_error = page->crash_error;
	run->crash_vector = page->crash_vector;
	run->crash_detail = page->crash_detail;
}

/* The assembly says only which exception it was. */
static void classify_crash(struct penumbra_vcpu *page)
{
	if (page->crash_reason != PENUMBRA_CRASH_CORE_EXCEPTION)
		return;
	switch (page->crash_vector) {
	case X86_TRAP_UD:
		page->crash_reason = PENUMBRA_CRASH_CORE_TRAP;
		break;
	case X86_TRAP_PF:
		page->crash_reason = PENUMBRA_CRASH_CORE_PAGE_FAULT;
		break;
	case X86_TRAP_GP:
		page->crash_reason = PENUMBRA_CRASH_CORE_GP;
		break;
	case X86_TRAP_DF:
		page->crash_reason = PENUMBRA_CRASH_CORE_DOUBLE_FAULT;
		break;
	}
}

static int to_vmm(struct penumbra_vcpu_host *vcpu, u32 reason)
{
	int i;

	vcpu->run->exit_reason = reason;
	if (reason == PENUMBRA_EXIT_SHUTDOWN)
		for (i = 0; i < 2; i++)
			vcpu->run->arg[i] = vcpu->page->exit_arg[i];
	return 0;
}

static int crash(struct penumbra_vcpu_host *vcpu, u32 reason)
{
	if (reason)
		vcpu->page->crash_reason = reason;
	classify_crash(vcpu->page);
	report_crash(vcpu);
	penumbra_vm_kill(vcpu->vm, vcpu->page->crash_reason);
	return to_vmm(vcpu, PENUMBRA_EXIT_CRASH);
}

#define STAY 1 /* serve_exit: enter again */

static int serve_exit(struct penumbra_vcpu_host *vcpu, u32 reason)
{
	struct penumbra_vcpu *page = vcpu->page;
	int error;

	switch (reason) {
	case PENUMBRA_EXIT_NONE:
	case PENUMBRA_EXIT_INTERRUPT:
	case PENUMBRA_EXIT_NMI:
	case PENUMBRA_EXIT_MCE:
	case PENUMBRA_EXIT_SLICE:
		return STAY;
	case PENUMBRA_EXIT_TIMER:
		arm_timer(vcpu);
		return STAY;
	case PENUMBRA_EXIT_HALT:
		vcpu->halted = true;
		return STAY;
	case PENUMBRA_EXIT_NOTIFY:
		penumbra_eventfd_notify(vcpu->vm, page->exit_arg[0]);
		return STAY;
	case PENUMBRA_EXIT_POPULATE:
		error = penumbra_vm_populate(vcpu->vm, page->exit_arg[0], page->exit_arg[1]);
		return error ? crash(vcpu, PENUMBRA_CRASH_OUT_OF_MEMORY) : STAY;
	case PENUMBRA_EXIT_GROW:
		error = penumbra_vm_grow(vcpu->vm);
		return error ? crash(vcpu, PENUMBRA_CRASH_OUT_OF_MEMORY) : STAY;
	case PENUMBRA_EXIT_KICK:
		kick_others(vcpu, page->exit_arg[0], page->exit_arg[1] & PENUMBRA_KICK_WAITS);
		return STAY;
	case PENUMBRA_EXIT_REQUEST:
		penumbra_vcpu_attention(vcpu, PENUMBRA_ATTENTION_DONE);
		return to_vmm(vcpu, reason);
	case PENUMBRA_EXIT_SHUTDOWN:
		penumbra_vm_kill(vcpu->vm, PENUMBRA_CRASH_KILLED);
		return to_vmm(vcpu, reason);
	case PENUMBRA_EXIT_CRASH:
		return crash(vcpu, 0);
	default:
		return crash(vcpu, PENUMBRA_CRASH_PROTOCOL);
	}
}

/*
 * How long this thread has waited for a CPU, by the scheduler's own account, is what the guest
 * knows as stolen time. It grows with changes of CPU and of thread only: mostly this is a look.
 */
static void note_stolen_time(struct penumbra_vcpu_host *vcpu)
{
	u64 waited = compat_run_delay(current);

	if (likely(waited == vcpu->waited))
		return;
	vcpu->page->stolen_time += waited - vcpu->waited;
	vcpu->waited = waited;
	penumbra_vcpu_attention(vcpu, PENUMBRA_ATTENTION_EVENT);
}

static int run_until_exit(struct penumbra_vcpu_host *vcpu)
{
	int result = STAY;

	while (result == STAY) {
		u32 dead = READ_ONCE(vcpu->vm->page->dead);
		u32 reason;

		if (dead) {
			vcpu->run->crash_reason = dead;
			return to_vmm(vcpu, PENUMBRA_EXIT_DEAD);
		}
		if (penumbra_must_return() || (vcpu->halted && wait_for_work(vcpu))) {
			vcpu->run->exit_reason = PENUMBRA_EXIT_SIGNAL;
			return -EINTR;
		}
		if (READ_ONCE(vcpu->vm->page->dead))
			continue;
		note_stolen_time(vcpu);
		reason = penumbra_world_run(vcpu);
		if (reason < PENUMBRA_EXIT_COUNT)
			vcpu->page->counter[reason]++;
		result = serve_exit(vcpu, reason);
		if (need_resched()) {
			cond_resched();
			/* The host may have added top-level entries meanwhile. */
			penumbra_world_refresh_bridge(vcpu);
		}
	}
	return result;
}

int penumbra_vcpu_run(struct penumbra_vcpu_host *vcpu)
{
	int result;

	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	vcpu->run->exit_reason = PENUMBRA_EXIT_NONE;
	vcpu->waited = compat_run_delay(current);
	penumbra_watchdog_add(vcpu);
	fpu_swap_kvm_fpstate(&vcpu->fpu, true);
	penumbra_world_refresh_bridge(vcpu);
	result = run_until_exit(vcpu);
	if (static_branch_unlikely(&penumbra_ibpb_vmm))
		penumbra_ibpb_before_vmm(vcpu);
	fpu_swap_kvm_fpstate(&vcpu->fpu, false);
	penumbra_watchdog_remove(vcpu);
	mutex_unlock(&vcpu->mutex);
	return result;
}
