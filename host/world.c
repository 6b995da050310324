// SPDX-License-Identifier: GPL-2.0-only
/*
 * One entry into the core's world and back. What the world switch in assembly does not
 * touch is put aside and restored here: syscall MSRs, KERNEL_GS_BASE, TSC_AUX, debug
 * registers, DEBUGCTL, XCR0. An interrupt that made the guest exit is handed to the
 * host's own handler before interrupts are enabled again.
 *
 * MSRs are read and written by the instructions themselves: the kernel's own accessors go
 * through paravirt calls, and on bare metal or in any VM but Xen PV they end there too.
 */
#include <linux/hw_breakpoint.h>
#include <linux/sched/signal.h>
#include <asm/apic.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/desc.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>
#include <asm/tlbflush.h>

#include "compat.h"
#include "penumbra.h"

/* CPUID leaf 7, subleaf 0 (SDM vol. 2, CPUID). */
#define CPUID_7_EBX_SMEP BIT(7)
#define CPUID_7_EBX_SMAP BIT(20)
#define CPUID_7_ECX_UMIP BIT(2)
#define KERNEL_HALF 256 /* first top-level entry of the kernel's half */
/* What SYSCALL must clear for the core: interrupts, direction, traps, AC (SMAP), NT. */
#define SYSCALL_MASK_NEEDED \
	(X86_EFLAGS_IF | X86_EFLAGS_DF | X86_EFLAGS_TF | X86_EFLAGS_AC | X86_EFLAGS_NT)
#define STAR_VALUE ((u64)PENUMBRA_SEL_GUEST_CS32 << 48 | (u64)PENUMBRA_SEL_CORE_CS << 32)

struct penumbra_machine penumbra_machine;
/* Bit 63 of the CR3 that the host gets back: keeps its TLB entries. Legal with PCIDE only. */
u64 penumbra_cr3_noflush __ro_after_init;

/* What the C side puts aside around the switch. */
struct host_registers {
	u64 star, lstar, cstar, sysenter_cs, syscall_mask, kernel_gs_base, tsc_aux, debugctl, pebs_enable;
	u32 pkru;
	bool debug_loaded;
};

/* ---- load time ---- */

/*
 * CR4 of the guest's world, a list of what is set. PGE stays clear: guests use the host's
 * kernel addresses, and a global entry of the host's would match them. SMEP, SMAP and UMIP
 * are on where the CPU has them, even if the host does without: all CPUs with FSGSBASE have
 * the leaf that says so. QEMU's TCG reads the stack of an IRET executed at CPL 3 as
 * supervisor, so SMAP would fault it: off there.
 */
static u64 choose_guest_cr4(void)
{
	u32 eax, ebx, ecx, edx;
	u64 host = native_read_cr4();
	u64 cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE |
		  X86_CR4_FSGSBASE;

	cr4 |= host & (X86_CR4_MCE | X86_CR4_PCIDE | X86_CR4_LA57 | X86_CR4_VMXE);
	cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
	if (ebx & CPUID_7_EBX_SMEP)
		cr4 |= X86_CR4_SMEP;
	if (ebx & CPUID_7_EBX_SMAP && !(penumbra_machine.cpu_facts & PENUMBRA_CPU_EMULATED))
		cr4 |= X86_CR4_SMAP;
	if (ecx & CPUID_7_ECX_UMIP)
		cr4 |= X86_CR4_UMIP;
	return cr4;
}

static int check_cpu(void)
{
	u64 mask;

	if (!(native_read_cr4() & X86_CR4_FSGSBASE)) {
		penumbra_err("this CPU (or the nofsgsbase parameter) has no FSGSBASE, which Penumbra needs\n");
		return -ENODEV;
	}
	if (!boot_cpu_has(X86_FEATURE_NX) || !boot_cpu_has(X86_FEATURE_OSXSAVE)) {
		penumbra_err("this CPU has no NX or no XSAVE, which Penumbra needs\n");
		return -ENODEV;
	}
	rdmsrl(MSR_SYSCALL_MASK, mask);
	penumbra_machine.syscall_mask = mask;
	if ((mask & SYSCALL_MASK_NEEDED) != SYSCALL_MASK_NEEDED) {
		penumbra_err("the host's SYSCALL mask %#llx does not clear %#lx\n", mask,
			     SYSCALL_MASK_NEEDED);
		return -ENODEV;
	}
	if (!tsc_khz || !boot_cpu_has(X86_FEATURE_TSC)) {
		penumbra_err("this machine has no usable TSC, which the guest's clock needs\n");
		return -ENODEV;
	}
	return 0;
}

int penumbra_world_init(void)
{
	struct penumbra_machine *machine = &penumbra_machine;
	int error = check_cpu();

	if (error)
		return error;
	machine->guest_cr4 = choose_guest_cr4();
	if (machine->guest_cr4 & X86_CR4_PCIDE)
		penumbra_cr3_noflush = X86_CR3_PCID_NOFLUSH;
	machine->host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	/* Components that need a permission of the kernel's (AMX) are not offered. */
	machine->offered_xcr0 = machine->host_xcr0 & ~(u64)(XFEATURE_MASK_XTILE);
	machine->debug_store = boot_cpu_has(X86_FEATURE_DTES64) && boot_cpu_has(X86_FEATURE_DS);
	if (machine->barriers & PENUMBRA_BARRIER_RESTRICTED_VIEW) {
		machine->vm_flags |= PENUMBRA_VM_RESTRICTED;
		machine->features |= PENUMBRA_FEATURE_RESTRICTED;
	}
	if (machine->guest_cr4 & X86_CR4_LA57) {
		machine->vm_flags |= PENUMBRA_VM_LA57;
		machine->features |= PENUMBRA_FEATURE_LA57;
	}
	if (machine->guest_cr4 & X86_CR4_PCIDE && boot_cpu_has(X86_FEATURE_INVPCID)) {
		machine->vm_flags |= PENUMBRA_VM_PCID;
		machine->features |= PENUMBRA_FEATURE_PCID;
	}
	if (machine->guest_cr4 & X86_CR4_SMAP) {
		machine->vm_flags |= PENUMBRA_VM_SMAP;
		machine->features |= PENUMBRA_FEATURE_SMAP;
	}
	if (machine->guest_cr4 & X86_CR4_SMEP)
		machine->features |= PENUMBRA_FEATURE_SMEP;
	if (machine->guest_cr4 & X86_CR4_UMIP)
		machine->features |= PENUMBRA_FEATURE_UMIP;
	return 0;
}

/* ---- the bridge ---- */

static void copy_table(u64 *to, const u64 *from, unsigned int first)
{
	unsigned int i;

	for (i = first; i < PTRS_PER_PGD; i++)
		if (to[i] != from[i])
			WRITE_ONCE(to[i], from[i]);
}

/*
 * The host's kernel half plus slot 261. With 5-level tables the slot lies under the last
 * top-level entry, so that entry gets a private copy of its table.
 */
void penumbra_world_refresh_bridge(struct penumbra_vcpu_host *vcpu)
{
	const u64 *host = __va(__read_cr3() & CR3_ADDR_MASK & ~sme_me_mask);
	u64 slot = vcpu->vm->page->slot_full;

	copy_table(vcpu->bridge, host, KERNEL_HALF);
	if (vcpu->bridge_la57) {
		const u64 *last = __va(host[PTRS_PER_PGD - 1] & PHYSICAL_PAGE_MASK & ~sme_me_mask);

		copy_table(vcpu->bridge_la57, last, 0);
		vcpu->bridge_la57[PENUMBRA_SLOT] = slot;
		vcpu->bridge[PTRS_PER_PGD - 1] = penumbra_table_value(vcpu->bridge_la57);
	} else {
		vcpu->bridge[PENUMBRA_SLOT] = slot;
	}
}

/* The host's TSS moves with the CPU: its descriptor stands in our GDT for the way back. */
static void move_to_cpu(struct penumbra_vcpu_host *vcpu, int cpu)
{
	if (vcpu->tss_cpu == cpu)
		return;
	memcpy(&vcpu->gdt_guest[PENUMBRA_SEL_HOST_TSS / 8],
	       (u64 *)get_cpu_gdt_rw(cpu) + GDT_ENTRY_TSS, 2 * sizeof(u64));
	vcpu->tss_cpu = cpu;
}

/* ---- registers ---- */

static bool guest_uses_debug_registers(const struct penumbra_vcpu *page)
{
	return page->debug_register[7] & (DR_GLOBAL_ENABLE_MASK | DR_LOCAL_ENABLE_MASK);
}

/*
 * The host's breakpoints are at addresses that the guest uses too. The guest's are armed by the
 * core once its IDT is loaded: one at an address of this module would be met here for ever.
 */
static void load_debug_registers(struct penumbra_vcpu *page)
{
	set_debugreg(0, 7);
	if (!guest_uses_debug_registers(page))
		return;
	set_debugreg(page->debug_register[0], 0);
	set_debugreg(page->debug_register[1], 1);
	set_debugreg(page->debug_register[2], 2);
	set_debugreg(page->debug_register[3], 3);
	set_debugreg(DR6_RESERVED, 6);
	page->dr7 = page->debug_register[7];
}

static void unload_debug_registers(void)
{
	set_debugreg(0, 7);
	set_debugreg(DR6_RESERVED, 6);
	if (hw_breakpoint_active())
		hw_breakpoint_restore();
}

static void leave_host(struct penumbra_vcpu_host *vcpu, struct host_registers *host)
{
	struct penumbra_vcpu *page = vcpu->page;
	const struct penumbra_image_header *image = penumbra_image();

	host->star = __rdmsr(MSR_STAR);
	host->lstar = __rdmsr(MSR_LSTAR);
	host->cstar = __rdmsr(MSR_CSTAR);
	host->sysenter_cs = __rdmsr(MSR_IA32_SYSENTER_CS);
	/* KVM leaves its guest's until its thread returns to user mode, and wants to find it then. */
	host->syscall_mask = __rdmsr(MSR_SYSCALL_MASK);
	if (host->syscall_mask != penumbra_machine.syscall_mask)
		native_wrmsrl(MSR_SYSCALL_MASK, penumbra_machine.syscall_mask);
	host->kernel_gs_base = __rdmsr(MSR_KERNEL_GS_BASE);
	native_wrmsrl(MSR_STAR, STAR_VALUE);
	native_wrmsrl(MSR_LSTAR, page->guest_cr4 & X86_CR4_SMAP ? image->syscall_entry_smap :
							    image->syscall_entry);
	native_wrmsrl(MSR_CSTAR, image->syscall32_entry);
	native_wrmsrl(MSR_IA32_SYSENTER_CS, 0);
	native_wrmsrl(MSR_KERNEL_GS_BASE, vcpu->page_address);
	if (static_cpu_has(X86_FEATURE_RDTSCP)) {
		host->tsc_aux = __rdmsr(MSR_TSC_AUX);
		native_wrmsrl(MSR_TSC_AUX, page->tsc_aux);
	}
	host->debugctl = __rdmsr(MSR_IA32_DEBUGCTLMSR);
	if (host->debugctl)
		native_wrmsrl(MSR_IA32_DEBUGCTLMSR, 0);
	host->pebs_enable = 0;
	if (penumbra_machine.debug_store) {
		host->pebs_enable = __rdmsr(MSR_IA32_PEBS_ENABLE);
		if (host->pebs_enable)
			native_wrmsrl(MSR_IA32_PEBS_ENABLE, 0);
	}
	page->dr7 = 0;
	host->debug_loaded = hw_breakpoint_active() || guest_uses_debug_registers(page);
	if (host->debug_loaded)
		load_debug_registers(page);
	if (static_cpu_has(X86_FEATURE_OSPKE))
		host->pkru = rdpkru();
	if (page->xcr0 != penumbra_machine.host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, page->xcr0);
}

static void return_to_host(struct penumbra_vcpu_host *vcpu, const struct host_registers *host)
{
	struct penumbra_vcpu *page = vcpu->page;

	if (page->xcr0 != penumbra_machine.host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, penumbra_machine.host_xcr0);
	/* XRSTOR writes it in any world, and the host's accesses to the VMM's memory obey it. */
	if (static_cpu_has(X86_FEATURE_OSPKE) && rdpkru() != host->pkru)
		wrpkru(host->pkru);
	if (host->debug_loaded) /* the guest may have disarmed them meanwhile */
		unload_debug_registers();
	if (host->pebs_enable)
		native_wrmsrl(MSR_IA32_PEBS_ENABLE, host->pebs_enable);
	if (host->debugctl)
		native_wrmsrl(MSR_IA32_DEBUGCTLMSR, host->debugctl);
	if (static_cpu_has(X86_FEATURE_RDTSCP))
		native_wrmsrl(MSR_TSC_AUX, host->tsc_aux);
	native_wrmsrl(MSR_KERNEL_GS_BASE, host->kernel_gs_base);
	if (host->syscall_mask != penumbra_machine.syscall_mask)
		native_wrmsrl(MSR_SYSCALL_MASK, host->syscall_mask);
	native_wrmsrl(MSR_IA32_SYSENTER_CS, host->sysenter_cs);
	native_wrmsrl(MSR_CSTAR, host->cstar);
	native_wrmsrl(MSR_LSTAR, host->lstar);
	native_wrmsrl(MSR_STAR, host->star);
}

/* ---- in and out ---- */

static unsigned long host_handler(const struct penumbra_vcpu *page, u64 vector)
{
	const gate_desc *idt = (const gate_desc *)page->host_idtr.base;

	return gate_offset(&idt[vector & 0xff]);
}

/* The work that an exit leaves for the host, with interrupts still off. */
static void serve_interrupts(struct penumbra_vcpu_host *vcpu, u32 reason)
{
	struct penumbra_vcpu *page = vcpu->page;

	switch (reason) {
	case PENUMBRA_EXIT_INTERRUPT:
		penumbra_call_handler(host_handler(page, page->exit_arg[0]));
		break;
	case PENUMBRA_EXIT_NMI:
		asm volatile("int $2"); /* NMIs are blocked until this handler returns */
		break;
	case PENUMBRA_EXIT_MCE:
		compat_machine_check();
		break;
	case PENUMBRA_EXIT_CRASH:
		/* The watchdog's NMI ended in the core: the host's handler takes note of it. */
		if (page->crash_reason == PENUMBRA_CRASH_CORE_STUCK)
			asm volatile("int $2");
		else if (page->crash_reason == PENUMBRA_CRASH_MACHINE_CHECK)
			compat_machine_check();
		break;
	}
	/* One that came in ring 0 was put off: NMIs are unblocked again, so send it anew. */
	if (unlikely(READ_ONCE(page->attention))) {
		if (penumbra_vcpu_take_attention(vcpu, PENUMBRA_ATTENTION_NMI))
			apic->send_IPI(smp_processor_id(), NMI_VECTOR);
		if (penumbra_vcpu_take_attention(vcpu, PENUMBRA_ATTENTION_MCE))
			compat_machine_check();
	}
}

static bool must_stay_out(struct penumbra_vcpu_host *vcpu)
{
	return need_resched() || penumbra_must_return() || READ_ONCE(vcpu->vm->page->dead);
}

u32 penumbra_world_run(struct penumbra_vcpu_host *vcpu)
{
	struct penumbra_vcpu *page = vcpu->page;
	struct host_registers host;
	u32 reason = PENUMBRA_EXIT_NONE;

	preempt_disable();
	local_irq_disable();
	vcpu->cpu = smp_processor_id();
	WRITE_ONCE(page->in_world, 1);
	WRITE_ONCE(vcpu->entered, jiffies);
	smp_store_mb(vcpu->mode, PENUMBRA_IN_GUEST);
	if (must_stay_out(vcpu))
		goto out;
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
	move_to_cpu(vcpu, vcpu->cpu);
	if (static_branch_unlikely(&penumbra_ibpb_vm))
		penumbra_ibpb_between_vms(vcpu);
	leave_host(vcpu, &host);
	penumbra_switch(page, vcpu->page_address, page->bridge_cr3, penumbra_image()->world_enter);
	/* Some CPUs let IBRS count only from when it is written in the more privileged mode. */
	if (static_cpu_has(X86_FEATURE_KERNEL_IBRS))
		native_wrmsrl(MSR_IA32_SPEC_CTRL, this_cpu_read(x86_spec_ctrl_current));
	if (static_branch_unlikely(&penumbra_ibpb_vmm))
		compat_ibpb_before_user_mode();
	return_to_host(vcpu, &host);
	reason = page->exit_reason;
out:
	WRITE_ONCE(page->in_world, 0);
	smp_store_release(&vcpu->mode, PENUMBRA_OUT);
	if (reason != PENUMBRA_EXIT_NONE)
		serve_interrupts(vcpu, reason);
	if (reason == PENUMBRA_EXIT_INTERRUPT || reason == PENUMBRA_EXIT_SLICE)
		compat_rcu_note_guest();
	local_irq_enable();
	preempt_enable();
	return reason;
}
