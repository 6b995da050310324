/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Barriers against transient execution: which there are, and which a CPU needs. The module
 * gathers facts from the host kernel's own lists (host/barriers.c) and chooses by the one
 * function below; programs print both. docs/security.md says what each barrier is for.
 */
#ifndef PENUMBRA_BARRIERS_H
#define PENUMBRA_BARRIERS_H

#include "types.h"

/* What the CPU is. */
#define PENUMBRA_CPU_EMULATED 0x001   /* by QEMU's TCG: barriers in it reach no real CPU */
#define PENUMBRA_CPU_MELTDOWN 0x002   /* ring 3 reads what is mapped for ring 0 */
#define PENUMBRA_CPU_SPECTRE_V2 0x004 /* branches are predicted from those of others */
#define PENUMBRA_CPU_L1TF 0x008       /* entries that are not present are followed */
#define PENUMBRA_CPU_MDS 0x010        /* stale buffers are read, */
#define PENUMBRA_CPU_TAA 0x020        /* ... by aborts of TSX, which is on, */
#define PENUMBRA_CPU_RFDS 0x040       /* ... of register files, */
#define PENUMBRA_CPU_TSA 0x080        /* ... of AMD's schedulers; */
#define PENUMBRA_CPU_HOST_VERW 0x100  /* the host clears buffers, for these or other reasons */
#define PENUMBRA_CPU_IBPB 0x200       /* has the command */

#define PENUMBRA_CPU_FACTS(X)                                                         \
	X(PENUMBRA_CPU_EMULATED, "emulated") X(PENUMBRA_CPU_MELTDOWN, "meltdown")     \
	X(PENUMBRA_CPU_SPECTRE_V2, "spectre-v2") X(PENUMBRA_CPU_L1TF, "l1tf")         \
	X(PENUMBRA_CPU_MDS, "mds") X(PENUMBRA_CPU_TAA, "taa")                         \
	X(PENUMBRA_CPU_RFDS, "rfds") X(PENUMBRA_CPU_TSA, "tsa")                       \
	X(PENUMBRA_CPU_HOST_VERW, "host-verw") X(PENUMBRA_CPU_IBPB, "ibpb")

#define PENUMBRA_CPU_STALE_BUFFERS 0x1f0 /* MDS to HOST_VERW */

/* The barriers. The return stack (RSB) predicts where RET goes; VERW clears stale buffers. */
#define PENUMBRA_BARRIER_RESTRICTED_VIEW 0x01 /* guest roots carry the entry view only */
#define PENUMBRA_BARRIER_RSB_EXIT 0x02        /* return stack refilled on the way to the host */
#define PENUMBRA_BARRIER_RSB_ENTER 0x04       /* ... and on the way from the host */
#define PENUMBRA_BARRIER_IBPB_VM 0x08         /* IBPB where a CPU goes on with another VM */
#define PENUMBRA_BARRIER_IBPB_VMM 0x10        /* IBPB before a VMM goes on after its guest */
#define PENUMBRA_BARRIER_VERW 0x20            /* VERW after the host and before guest user mode */

#define PENUMBRA_BARRIERS(X)                                     \
	X(PENUMBRA_BARRIER_RESTRICTED_VIEW, "restricted-view")   \
	X(PENUMBRA_BARRIER_RSB_EXIT, "rsb-exit")                 \
	X(PENUMBRA_BARRIER_RSB_ENTER, "rsb-enter")               \
	X(PENUMBRA_BARRIER_IBPB_VM, "ibpb-vm")                   \
	X(PENUMBRA_BARRIER_IBPB_VMM, "ibpb-vmm")                 \
	X(PENUMBRA_BARRIER_VERW, "verw")

#define PENUMBRA_BARRIERS_ALL 0x3f
#define PENUMBRA_BARRIERS_IBPB 0x18

#ifndef __ASSEMBLER__

/*
 * The barriers that a CPU with these facts needs (PENUMBRA_CPU_*). They follow from the CPU and
 * not from how far the host trusts its own processes (`mitigations=off`): guests are hostile.
 * The view is a matter of page tables, which an emulator obeys like any CPU, and stays.
 */
static inline penumbra_u32 penumbra_barriers_needed(penumbra_u32 facts)
{
	penumbra_u32 barriers = 0;

	if (facts & PENUMBRA_CPU_SPECTRE_V2) {
		barriers |= PENUMBRA_BARRIER_RSB_EXIT | PENUMBRA_BARRIER_RSB_ENTER;
		if (facts & PENUMBRA_CPU_IBPB)
			barriers |= PENUMBRA_BARRIERS_IBPB;
	}
	if (facts & PENUMBRA_CPU_STALE_BUFFERS)
		barriers |= PENUMBRA_BARRIER_VERW;
	if (facts & PENUMBRA_CPU_EMULATED)
		barriers = 0;
	if (facts & PENUMBRA_CPU_MELTDOWN)
		barriers |= PENUMBRA_BARRIER_RESTRICTED_VIEW;
	return barriers;
}

/* The name of one PENUMBRA_BARRIER_*, or a null pointer. */
static inline const char *penumbra_barrier_name(penumbra_u32 barrier)
{
	switch (barrier) {
#define PENUMBRA_BARRIER_CASE(bit, name) \
	case bit:                        \
		return name;
		PENUMBRA_BARRIERS(PENUMBRA_BARRIER_CASE)
#undef PENUMBRA_BARRIER_CASE
	default:
		return 0;
	}
}

/* The name of one PENUMBRA_CPU_*, or a null pointer. */
static inline const char *penumbra_cpu_fact_name(penumbra_u32 fact)
{
	switch (fact) {
#define PENUMBRA_CPU_FACT_CASE(bit, name) \
	case bit:                         \
		return name;
		PENUMBRA_CPU_FACTS(PENUMBRA_CPU_FACT_CASE)
#undef PENUMBRA_CPU_FACT_CASE
	default:
		return 0;
	}
}

#endif
#endif
