// SPDX-License-Identifier: GPL-2.0-only
/*
 * Barriers against transient execution. At load: what the host's kernel says of the CPU, the
 * choice (interface/penumbra/barriers.h), and the diversions of the core image that it needs.
 * While VMs run: IBPB where a CPU goes on with another VM, and on the way to the VMM.
 *
 * SPEC_CTRL is never written but with its own value: IBRS, STIBP and SSBD are in the guest's
 * world as the host has them for the thread that runs the vCPU.
 */
#include <linux/module.h>
#include <linux/percpu.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>

#include "compat.h"
#include "penumbra.h"

#define JUMP_OPCODE 0xe9 /* jmp, 32-bit displacement: SDM vol. 2, JMP */
#define JUMP_SIZE 5

static char *barriers = "";
module_param(barriers, charp, 0444);
MODULE_PARM_DESC(barriers,
		 "Barriers besides those that the CPU needs, with commas: restricted-view, rsb-exit, rsb-enter, ibpb-vm, ibpb-vmm, verw, or all; cpu: those of an emulated CPU's model");

DEFINE_STATIC_KEY_FALSE(penumbra_ibpb_vm);
DEFINE_STATIC_KEY_FALSE(penumbra_ibpb_vmm);

/* Number of the VM that a CPU ran last. */
static DEFINE_PER_CPU(u64, last_vm);

/* ---- the choice ---- */

static bool emulated_by_tcg(void)
{
	u32 registers[4];

	if (!boot_cpu_has(X86_FEATURE_HYPERVISOR))
		return false;
	cpuid(0x40000000, &registers[0], &registers[1], &registers[2], &registers[3]);
	return !memcmp(&registers[1], "TCGTCGTCGTCG", 12);
}

static u32 gather_facts(void)
{
	u32 facts = 0;

	if (emulated_by_tcg())
		facts |= PENUMBRA_CPU_EMULATED;
	if (boot_cpu_has_bug(X86_BUG_CPU_MELTDOWN))
		facts |= PENUMBRA_CPU_MELTDOWN;
	if (boot_cpu_has_bug(X86_BUG_SPECTRE_V2))
		facts |= PENUMBRA_CPU_SPECTRE_V2;
	if (boot_cpu_has_bug(X86_BUG_L1TF))
		facts |= PENUMBRA_CPU_L1TF;
	if (boot_cpu_has_bug(X86_BUG_MDS))
		facts |= PENUMBRA_CPU_MDS;
	if (boot_cpu_has_bug(X86_BUG_TAA) && boot_cpu_has(X86_FEATURE_RTM))
		facts |= PENUMBRA_CPU_TAA;
	if (compat_bug_rfds())
		facts |= PENUMBRA_CPU_RFDS;
	if (compat_bug_tsa())
		facts |= PENUMBRA_CPU_TSA;
	if (compat_host_clears_buffers())
		facts |= PENUMBRA_CPU_HOST_VERW;
	if (boot_cpu_has(X86_FEATURE_IBPB))
		facts |= PENUMBRA_CPU_IBPB;
	return facts;
}

static u32 barrier_named(const char *word, size_t length)
{
	u32 barrier;

	for (barrier = 1; barrier & PENUMBRA_BARRIERS_ALL; barrier <<= 1) {
		const char *name = penumbra_barrier_name(barrier);

		if (strlen(name) == length && !strncmp(name, word, length))
			return barrier;
	}
	return 0;
}

/* The parameter: adds to `chosen`. */
static int add_requested(u32 facts, u32 *chosen)
{
	const char *word = barriers;

	while (*word) {
		size_t length = strcspn(word, ",\n");
		u32 barrier = barrier_named(word, length);

		if (barrier) {
			*chosen |= barrier;
		} else if (length == 3 && !strncmp(word, "all", 3)) {
			*chosen |= PENUMBRA_BARRIERS_ALL;
		} else if (length == 3 && !strncmp(word, "cpu", 3)) {
			*chosen |= penumbra_barriers_needed(facts & ~PENUMBRA_CPU_EMULATED);
		} else {
			penumbra_err("no barrier is called '%.*s': see modinfo penumbra, parameter barriers\n",
				     (int)length, word);
			return -EINVAL;
		}
		word += length;
		word += strspn(word, ",\n");
	}
	return 0;
}

/* ---- the core image ---- */

/* Its pages become read-only when the module has been loaded. */
static void divert(const struct penumbra_diversion *diversion)
{
	u8 *site = (u8 *)penumbra_core_image + (diversion->site - PENUMBRA_CORE_IMAGE);
	s32 distance = diversion->target - (diversion->site + JUMP_SIZE);

	site[0] = JUMP_OPCODE;
	memcpy(site + 1, &distance, sizeof(distance));
}

static void divert_all(u32 chosen)
{
	const struct penumbra_image_header *image = penumbra_image();
	const struct penumbra_diversion *diversion =
		(const void *)(penumbra_core_image + (image->diversions - PENUMBRA_CORE_IMAGE));
	u64 i;

	for (i = 0; i < image->diversion_count; i++)
		if ((diversion[i].barriers & chosen) == diversion[i].barriers)
			divert(&diversion[i]);
}

int penumbra_barriers_init(void)
{
	u32 facts = gather_facts();
	u32 chosen = penumbra_barriers_needed(facts);
	int error = add_requested(facts, &chosen);

	if (error)
		return error;
	if (chosen & PENUMBRA_BARRIERS_IBPB &&
	    native_write_msr_safe(MSR_IA32_PRED_CMD, PRED_CMD_IBPB, 0)) {
		penumbra_err("this CPU has no IBPB: take ibpb-vm and ibpb-vmm out of the parameter barriers\n");
		return -EOPNOTSUPP;
	}
	divert_all(chosen);
	if (chosen & PENUMBRA_BARRIER_IBPB_VM)
		static_branch_enable(&penumbra_ibpb_vm);
	if (chosen & PENUMBRA_BARRIER_IBPB_VMM)
		static_branch_enable(&penumbra_ibpb_vmm);
	penumbra_machine.cpu_facts = facts;
	penumbra_machine.barriers = chosen;
	return 0;
}

/* ---- IBPB ---- */

static void ibpb(struct penumbra_vcpu_host *vcpu)
{
	native_wrmsrl(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	vcpu->page->counter[PENUMBRA_COUNTER_ibpbs]++;
}

/* By number: another VM may be where an ended one was. */
void penumbra_ibpb_between_vms(struct penumbra_vcpu_host *vcpu)
{
	if (this_cpu_read(last_vm) == vcpu->vm->number)
		return;
	this_cpu_write(last_vm, vcpu->vm->number);
	ibpb(vcpu);
}

/* Guest and VMM both run in ring 3, where no CPU tells their branches apart by itself. */
void penumbra_ibpb_before_vmm(struct penumbra_vcpu_host *vcpu)
{
	if (!compat_ibpb_before_user_mode())
		ibpb(vcpu);
}
