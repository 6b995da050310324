/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the VMM and the core's Xen PV personality agree on. Layouts are those of Xen's
 * public headers (xen.h, arch-x86/xen.h, elfnote.h), restated for 64-bit guests.
 *
 * Guest frames, with n = ram_frames:
 *
 *     0 .. n-1          RAM; machine frame numbers equal pseudo-physical ones
 *     n                 shared_info                          guest: read, write
 *     n+1 .. n+64       grant table, version 1               guest: read, write
 *     n+65 ..           page tables of the map below: level 3, level 2, then level 1
 *     ...               machine-to-physical map, identity    guest: read
 *
 * The VMM backs the special frames with zeroes, but for the event masks of shared_info
 * (all vCPUs masked), the map, and its tables. Everything else in them is the core's to
 * fill: the time areas and the wall clock before the first instruction.
 *
 * The map stands at the start of top-level slot 256 of the guest kernel's roots, where Xen has
 * its own. Its tables are a guest's like any other: the core writes the entry that leads to
 * them into each root that the guest loads, and walks them as it walks all tables. Their
 * entries are present and accessed, the leaves read-only and not executable.
 */
#ifndef PENUMBRA_XEN_H
#define PENUMBRA_XEN_H

#include "types.h"

/* Special frames, counted from ram_frames. */
#define XENPV_SHARED_INFO_OFFSET 0
#define XENPV_GRANT_OFFSET 1
#define XENPV_GRANT_FRAMES 64
#define XENPV_M2P_TABLES_OFFSET 65
#define XENPV_M2P_ENTRIES_PER_FRAME 512
#define XENPV_M2P_SLOT 256
#define XENPV_M2P_START 0xffff800000000000

/* Event channels that exist from the start, bound to vCPU 0; their other end is the VMM. */
#define XENPV_PORT_XENSTORE 1
#define XENPV_PORT_CONSOLE 2
#define XENPV_PORT_FIRST_FREE 3

/* VMM requests (arg[0] of the run page). */
#define XENPV_REQUEST_CONSOLE 1 /* data[]: text of CONSOLEIO_write; answer: bytes taken */

#define XENPV_DOMAIN 1 /* the number that a guest has in its own eyes */

/* shared_info. vcpu_info of vCPU n < 32 is at 64 * n; the VMM sets every mask byte to 1. */
#define XENPV_SHARED_VCPU_INFO 0x000
#define XENPV_VCPU_INFO_SIZE 64
#define XENPV_SHARED_VCPUS 32
#define XENPV_MAX_VCPUS 16 /* that the VMM gives to a guest */
#define XENPV_SHARED_PENDING 0x800
#define XENPV_SHARED_MASK 0xa00
#define XENPV_SHARED_WALL_CLOCK 0xc00 /* u32 version, seconds, nanoseconds, high word of the seconds */

/* vcpu_info */
#define XENPV_INFO_PENDING 0x00
#define XENPV_INFO_MASK 0x01
#define XENPV_INFO_PENDING_SELECTOR 0x08
#define XENPV_INFO_CR2 0x10
#define XENPV_INFO_TIME 0x20

/* start_info.flags */
#define XENPV_START_PRIVILEGED 1
#define XENPV_START_MODULE_IS_FRAME 8 /* SIF_MOD_START_PFN: mod_start is a frame number */
#define XENPV_START_FLAT_P2M 16       /* SIF_VIRT_P2M_4TOOLS: no tree of the guest's frames is needed */

#define XENPV_COMMAND_LINE_SIZE 1024

#ifndef __ASSEMBLER__

static inline penumbra_u32 xenpv_shared_info_frame(penumbra_u32 ram_frames)
{
	return ram_frames + XENPV_SHARED_INFO_OFFSET;
}

static inline penumbra_u32 xenpv_grant_frame(penumbra_u32 ram_frames)
{
	return ram_frames + XENPV_GRANT_OFFSET;
}

/* The map's level-3 table; level 2 and the level-1 tables follow. */
static inline penumbra_u32 xenpv_m2p_tables_frame(penumbra_u32 ram_frames)
{
	return ram_frames + XENPV_M2P_TABLES_OFFSET;
}

static inline penumbra_u32 xenpv_m2p_frames(penumbra_u32 ram_frames)
{
	return (ram_frames + XENPV_M2P_ENTRIES_PER_FRAME - 1) / XENPV_M2P_ENTRIES_PER_FRAME;
}

/* PENUMBRA_MAX_FRAMES needs 64 level-1 tables: one of level 2 is enough. */
static inline penumbra_u32 xenpv_m2p_tables(penumbra_u32 ram_frames)
{
	return 2 + (xenpv_m2p_frames(ram_frames) + 511) / 512;
}

static inline penumbra_u32 xenpv_m2p_frame(penumbra_u32 ram_frames)
{
	return xenpv_m2p_tables_frame(ram_frames) + xenpv_m2p_tables(ram_frames);
}

/* penumbra_create_vm.special_frames of a VM of this personality. */
static inline penumbra_u32 xenpv_special_frames(penumbra_u32 ram_frames)
{
	return XENPV_M2P_TABLES_OFFSET + xenpv_m2p_tables(ram_frames) + xenpv_m2p_frames(ram_frames);
}

/* In guest RAM; its address is in RSI at the first instruction. */
struct xenpv_start_info {
	char magic[32];
	penumbra_u64 nr_pages;
	penumbra_u64 shared_info; /* machine address */
	penumbra_u32 flags;       /* XENPV_START_* */
	penumbra_u32 reserved0;
	penumbra_u64 store_frame;
	penumbra_u32 store_port;
	penumbra_u32 reserved1;
	penumbra_u64 console_frame;
	penumbra_u32 console_port;
	penumbra_u32 reserved2;
	penumbra_u64 page_tables; /* address of the top-level table */
	penumbra_u64 page_table_frames;
	penumbra_u64 p2m;         /* address of the guest's frame list */
	penumbra_u64 module_start;
	penumbra_u64 module_size; /* bytes */
	char command_line[XENPV_COMMAND_LINE_SIZE];
	penumbra_u64 first_p2m_frame;
	penumbra_u64 p2m_frames;
};
PENUMBRA_ASSERT_SIZE(struct xenpv_start_info, 1168);
PENUMBRA_ASSERT_OFFSET(struct xenpv_start_info, store_frame, 0x38);
PENUMBRA_ASSERT_OFFSET(struct xenpv_start_info, console_frame, 0x48);
PENUMBRA_ASSERT_OFFSET(struct xenpv_start_info, page_tables, 0x58);
PENUMBRA_ASSERT_OFFSET(struct xenpv_start_info, module_start, 0x70);
PENUMBRA_ASSERT_OFFSET(struct xenpv_start_info, command_line, 0x80);
PENUMBRA_ASSERT_OFFSET(struct xenpv_start_info, first_p2m_frame, 0x480);

#endif
#endif
