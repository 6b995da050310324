/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The VM page: configuration that the module fixes at creation, the clock, and the
 * bitmap through which events reach the guest. Shared by the module (its own mapping)
 * and the core (PENUMBRA_CORE_VM); no guest and no VMM sees it.
 */
#ifndef PENUMBRA_VM_H
#define PENUMBRA_VM_H

#include "types.h"
#include "address_map.h"

#define PENUMBRA_MAX_PORTS 4096
#define PENUMBRA_NO_VCPU 0xffff

/* Personalities. */
#define PENUMBRA_PERSONALITY_TEST 1
#define PENUMBRA_PERSONALITY_XEN_PV 2

/* penumbra_vm.flags */
#define PENUMBRA_VM_RESTRICTED 1 /* guest roots carry the entry view only */
#define PENUMBRA_VM_LA57 2       /* the host runs with 5-level tables: roots need a top page */
#define PENUMBRA_VM_PCID 4       /* CR4.PCIDE is set: roots carry PCIDs, NOFLUSH is legal */
#define PENUMBRA_VM_SMAP 8       /* SMAP is on in the guest's world */
#define PENUMBRA_VM_DEBUG 16     /* run the invariant checker after every operation */

/* Frame table entry: host-physical address of the backing page, or 0, with these bits. */
#define PENUMBRA_FRAME_PRESENT 1
#define PENUMBRA_FRAME_READONLY 2 /* the guest may only read it (M2P) */
#define PENUMBRA_FRAME_ADDRESS_MASK 0x000ffffffffff000

#ifndef __ASSEMBLER__

/* ns = ((tsc - tsc_base) << shift, or >> -shift) * mul >> 32; as pvclock (include/asm/pvclock.h). */
struct penumbra_clock {
	penumbra_u64 tsc_base;
	penumbra_u32 mul;
	penumbra_s32 shift;
	penumbra_u64 tsc_khz;
	penumbra_u64 wall_ns; /* UTC, ns since 1970, at tsc_base */
};

struct penumbra_vm {
	penumbra_u32 personality;
	penumbra_u32 flags;
	penumbra_u32 ram_frames;     /* guest frames 0 .. ram_frames-1 are RAM */
	penumbra_u32 total_frames;   /* ... and up to here the special frames */
	penumbra_u32 vcpu_count;     /* vCPUs created so far; ids are 0 .. vcpu_count-1 */
	penumbra_u32 pool_pages;     /* pool pages handed to the core so far */
	penumbra_u32 pool_limit;     /* ... and how many it may have */
	penumbra_u32 dead;           /* set once by whoever ends the VM */
	penumbra_u64 slot_full;      /* top-level entry 261 of the full view */
	penumbra_u64 slot_guest;     /* top-level entry 261 that guest roots carry */
	penumbra_u64 core_root;      /* CR3 (no PCID) of a root with the full view and no guest */
	penumbra_u64 nx;             /* bit 63 where EFER.NXE is set, else 0 */
	struct penumbra_clock clock;
	penumbra_u64 reserved[4];
	/* posted[p]: the module sets, the core takes. */
	penumbra_u64 posted[PENUMBRA_MAX_PORTS / 64];
	/* Which vCPU a port is bound to; written by the core, read with bounds by the module. */
	penumbra_u16 port_vcpu[PENUMBRA_MAX_PORTS];
};
_Static_assert(sizeof(struct penumbra_vm) <= PENUMBRA_VM_PAGES * PENUMBRA_PAGE_SIZE, "VM pages");

/* For Embedded Swift, which has no key paths to ask for an offset. */
enum {
	PENUMBRA_VM_OFFSET_POSTED = __builtin_offsetof(struct penumbra_vm, posted),
	PENUMBRA_VM_OFFSET_PORT_VCPU = __builtin_offsetof(struct penumbra_vm, port_vcpu),
};

#endif
#endif
