// SPDX-License-Identifier: GPL-2.0-only
/*
 * vCPUs that never come back. The core runs with interrupts off; the module's own timers,
 * one per CPU, look at all running vCPUs once a second. One that has not left the world
 * for a second gets a reschedule IPI (a guest that merely runs then exits), then an NMI with
 * each look. The core counts an NMI and leaves as soon as it is done with what it does; one
 * that has counted several and has not left is stuck, and not just starved by whoever
 * virtualises this host, in which case the NMIs would not arrive either. The next NMI finds
 * the number of that entry in `stuck`, and the stub of the core ends the VM. With one CPU
 * nothing can notice.
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/timer.h>
#include <asm/apic.h>
#include <asm/nmi.h>

#include "compat.h"
#include "penumbra.h"

#define PERIOD HZ
#define UNANSWERED_TO_KILL 2

static DEFINE_SPINLOCK(running_lock);
static LIST_HEAD(running);
static DEFINE_PER_CPU(struct timer_list, watch);
static DEFINE_PER_CPU(int, nmi_sent);
static int hotplug_state;

static void send_nmi(struct penumbra_vcpu_host *vcpu)
{
	per_cpu(nmi_sent, vcpu->cpu) = 1;
	smp_mb();
	apic->send_IPI(vcpu->cpu, NMI_VECTOR);
}

static void remind(struct penumbra_vcpu_host *vcpu, u64 entries)
{
	u64 nmis = READ_ONCE(vcpu->page->counter[PENUMBRA_COUNTER_nmis_in_core]);

	vcpu->overdue++;
	if (vcpu->overdue == 1) {
		smp_send_reschedule(vcpu->cpu);
		return;
	}
	if (vcpu->overdue > 2 && nmis != vcpu->seen_nmis)
		vcpu->unanswered++;
	vcpu->seen_nmis = nmis;
	if (vcpu->unanswered >= UNANSWERED_TO_KILL)
		WRITE_ONCE(vcpu->page->stuck, (u32)entries);
	send_nmi(vcpu);
}

static void look_at(struct penumbra_vcpu_host *vcpu)
{
	u64 entries = READ_ONCE(vcpu->page->counter[PENUMBRA_COUNTER_world_entries]);

	if (READ_ONCE(vcpu->mode) != PENUMBRA_IN_GUEST || entries != vcpu->seen_entries ||
	    time_before(jiffies, READ_ONCE(vcpu->entered) + PERIOD)) {
		vcpu->seen_entries = entries;
		vcpu->overdue = 0;
		vcpu->unanswered = 0;
		return;
	}
	remind(vcpu, entries);
}

static void watch_fired(struct timer_list *timer)
{
	struct penumbra_vcpu_host *vcpu;

	/* A CPU cannot see its own vCPU stuck, and one look a second is enough. */
	if (spin_trylock(&running_lock)) {
		list_for_each_entry(vcpu, &running, running)
			if (vcpu->cpu != smp_processor_id())
				look_at(vcpu);
		spin_unlock(&running_lock);
	}
	if (atomic_long_read(&penumbra_vms))
		mod_timer(timer, jiffies + PERIOD);
}

/* The NMI that found its vCPU already out of the world is nobody else's: claim it. */
static int claim_nmi(unsigned int type, struct pt_regs *regs)
{
	return this_cpu_xchg(nmi_sent, 0) ? NMI_HANDLED : NMI_DONE;
}

void penumbra_watchdog_add(struct penumbra_vcpu_host *vcpu)
{
	unsigned long flags;

	spin_lock_irqsave(&running_lock, flags);
	list_add(&vcpu->running, &running);
	spin_unlock_irqrestore(&running_lock, flags);
}

void penumbra_watchdog_remove(struct penumbra_vcpu_host *vcpu)
{
	unsigned long flags;

	spin_lock_irqsave(&running_lock, flags);
	list_del_init(&vcpu->running);
	spin_unlock_irqrestore(&running_lock, flags);
}

/* On its own CPU, where the timer's own restart does not run at the same time. */
static void start_here(void *unused)
{
	struct timer_list *timer = this_cpu_ptr(&watch);

	if (!timer_pending(timer))
		mod_timer(timer, jiffies + PERIOD);
}

static void start_on(int cpu)
{
	smp_call_function_single(cpu, start_here, NULL, true);
}

/* With the first VM; the timers stop by themselves after the last. */
void penumbra_watchdog_vm_created(void)
{
	static DEFINE_MUTEX(lock);
	int cpu;

	cpus_read_lock();
	mutex_lock(&lock);
	for_each_online_cpu(cpu)
		start_on(cpu);
	mutex_unlock(&lock);
	cpus_read_unlock();
}

static int cpu_comes(unsigned int cpu)
{
	if (atomic_long_read(&penumbra_vms))
		start_on(cpu);
	return 0;
}

static int cpu_goes(unsigned int cpu)
{
	del_timer_sync(per_cpu_ptr(&watch, cpu));
	return 0;
}

int penumbra_watchdog_init(void)
{
	int cpu, error;

	for_each_possible_cpu(cpu)
		timer_setup(per_cpu_ptr(&watch, cpu), watch_fired, TIMER_PINNED);
	error = register_nmi_handler(NMI_LOCAL, claim_nmi, 0, "penumbra");
	if (error)
		return error;
	hotplug_state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "penumbra:online", cpu_comes,
					  cpu_goes);
	if (hotplug_state < 0) {
		unregister_nmi_handler(NMI_LOCAL, "penumbra");
		return hotplug_state;
	}
	return 0;
}

void penumbra_watchdog_exit(void)
{
	int cpu;

	cpuhp_remove_state(hotplug_state);
	unregister_nmi_handler(NMI_LOCAL, "penumbra");
	for_each_possible_cpu(cpu)
		del_timer_sync(per_cpu_ptr(&watch, cpu));
}
