/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The address map of the core's world: top-level slot 261, which Linux leaves to
 * hypervisors (Documentation/arch/x86/x86_64/mm.rst: the guard hole is slots
 * 256-271 of the 4-level top table).
 *
 *   0xffff8280_00000000  +0 GiB   IMAGE    core image: entry text | text | constants   (RX, R)
 *                        +1 GiB   VCPUS    a stride per vCPU: GDT, IDT, vCPU page, stacks
 *                        +2 GiB   VM       the VM page, then one run page per vCPU; + 1 MiB the core's state
 *                        +4 GiB   POOL     window onto the core's pool pages (by pool index)
 *                        +8 GiB   FRAMES   frame table: what host page backs guest frame n
 *                        +9 GiB   FRAMEINFO what the core knows about guest frame n
 *                        +10 GiB  SHADOWS  a descriptor per pool page
 *                        +11 GiB  POOLTABLE what host page backs pool page n
 *                        +64 GiB  RAM      window onto guest RAM (by guest frame)
 *
 * All of it is supervisor-only, G=0, W^X. The module alone writes the page tables
 * of this slot; the core never does.
 *
 * Two views. The *full* view is all of the above. The *entry* view holds what must be
 * mapped while a guest runs and nothing else: the entry text and, per vCPU, the GDT,
 * the IDT, the vCPU page and the interrupt stacks. Guest roots carry the entry view on
 * CPUs with Meltdown (or on request), the full view elsewhere.
 */
#ifndef PENUMBRA_ADDRESS_MAP_H
#define PENUMBRA_ADDRESS_MAP_H

#include "types.h"

#define PENUMBRA_SLOT 261

#define PENUMBRA_CORE_BASE 0xffff828000000000
#define PENUMBRA_CORE_IMAGE 0xffff828000000000
#define PENUMBRA_CORE_VCPUS 0xffff828040000000
#define PENUMBRA_CORE_VM 0xffff828080000000
#define PENUMBRA_CORE_POOL 0xffff828100000000
#define PENUMBRA_CORE_FRAMES 0xffff828200000000
#define PENUMBRA_CORE_FRAMEINFO 0xffff828240000000
#define PENUMBRA_CORE_SHADOWS 0xffff828280000000
#define PENUMBRA_CORE_POOLTABLE 0xffff8282c0000000
#define PENUMBRA_CORE_RAM 0xffff829000000000

/*
 * The guest may use no linear address in here: slots 257-271. Slot 256 is the host's guard hole
 * too, but no part of the core's: a personality may keep a map for its guests there.
 */
#define PENUMBRA_HOLE_START 0xffff808000000000
#define PENUMBRA_HOLE_END 0xffff880000000000

#define PENUMBRA_MAX_VCPUS 64
/* Guest frames, special frames included: 64 GiB of 4 KiB frames. */
#define PENUMBRA_MAX_FRAMES (1 << 24)
/* Core pool pages of one VM: 4 GiB. */
#define PENUMBRA_MAX_POOL_PAGES (1 << 20)
/* The pool grows by this many pages; each growth adds one page of descriptors. */
#define PENUMBRA_POOL_CHUNK 32
#define PENUMBRA_SHADOW_DESCRIPTOR_SIZE 128
/* Bytes of core bookkeeping per guest frame. */
#define PENUMBRA_FRAME_INFO_SIZE 16
/* Special frames (shared info, grant table, M2P) that may follow the guest's RAM. */
#define PENUMBRA_MAX_SPECIAL_FRAMES (1 << 20)

/*
 * One vCPU's stride, in bytes from PENUMBRA_CORE_VCPUS + id * PENUMBRA_VCPU_STRIDE.
 * E = in the entry view too. Holes are unmapped guard pages.
 */
#define PENUMBRA_VCPU_STRIDE 0x40000
#define PENUMBRA_VCPU_GDT 0x00000      /* E  15 pages; 0: guest's sanitised copy, 14: the core's */
#define PENUMBRA_VCPU_GDT_CORE 0x0e000 /* E  GDT bytes from selector 0xe000 on */
#define PENUMBRA_VCPU_IDT 0x10000      /* E  256 gates of 16 bytes */
#define PENUMBRA_VCPU_PAGE 0x12000     /* E  struct penumbra_vcpu */
#define PENUMBRA_VCPU_IST 0x14000      /* E  interrupt stacks, one page each, a guard page below each */
#define PENUMBRA_VCPU_IST_STRIDE 0x2000
#define PENUMBRA_VCPU_STACK 0x20000    /*    the core's stack */
#define PENUMBRA_VCPU_STACK_SIZE 0x4000
#define PENUMBRA_VCPU_STATE 0x28000    /*    core-private vCPU state, two pages */
#define PENUMBRA_VCPU_STATE_SIZE 0x2000
#define PENUMBRA_VCPU_LDT 0x30000      /* E  sanitised copy of the guest's LDT, 16 pages */

/* The VM page is followed by the run pages: VM + 4 KiB * (16 + vCPU id). */
#define PENUMBRA_VM_PAGES 16
#define PENUMBRA_CORE_RUN_PAGES (PENUMBRA_CORE_VM + PENUMBRA_VM_PAGES * PENUMBRA_PAGE_SIZE)

/* The core's own per-VM state, zeroed at creation; the image itself has no writable data. */
#define PENUMBRA_CORE_STATE 0xffff828080100000
#define PENUMBRA_CORE_STATE_PAGES 64

/*
 * Interrupt stack numbers: the host's own (arch/x86/include/asm/page_64_types.h),
 * because during the few instructions in which our IDT meets the host's TSS an NMI
 * must find a good stack.
 */
#define PENUMBRA_IST_DF 1
#define PENUMBRA_IST_NMI 2
#define PENUMBRA_IST_DB 3
#define PENUMBRA_IST_MCE 4
#define PENUMBRA_IST_COUNT 4

/* Selectors. The core's CS, SS and the TSS copy stand where the host has its own. */
#define PENUMBRA_SEL_CORE_CS 0x10
#define PENUMBRA_SEL_CORE_SS 0x18
#define PENUMBRA_SEL_HOST_TSS 0x40
#define PENUMBRA_SEL_GUEST_CS32 0xe023
#define PENUMBRA_SEL_GUEST_SS 0xe02b
#define PENUMBRA_SEL_GUEST_CS 0xe033
#define PENUMBRA_SEL_CORE_TSS 0xe040
#define PENUMBRA_SEL_CORE_LDT 0xe050
#define PENUMBRA_GDT_LIMIT 0xe05f

#endif
