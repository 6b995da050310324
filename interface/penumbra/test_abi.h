/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The test personality: the smallest guest interface that shows every mechanism of the
 * core. Micro-guests speak it (guests/kit.h). Conventions are those of Xen PV, so that
 * both share the assembly: a `syscall` from guest kernel mode is a hypercall, RAX the
 * number, RDI RSI RDX R10 R8 the arguments, RAX the result (negative errno), RCX and R11
 * lost; events arrive as frames on the guest kernel's stack.
 *
 * Frame on the guest's stack, from RSP up, 16-byte aligned below the interrupted stack
 * (kernel mode) or below the kernel stack set by hypercall (user mode):
 *     rcx, r11, [error code], rip, cs | mask<<32, rflags, rsp, ss
 * with cs & 3 == 0 when guest kernel mode was interrupted. The handler pops rcx and r11.
 *
 * iret takes, from RSP up:  rax, r11, rcx, flags(0), rip, cs, rflags, rsp, ss.
 */
#ifndef PENUMBRA_TEST_ABI_H
#define PENUMBRA_TEST_ABI_H

#include "types.h"

#define PTEST_CONSOLE_WRITE 0    /* (pointer, length) -> bytes taken; at most 2048 a call */
#define PTEST_EXIT 1             /* (status): power off, the VMM exits with status & 0xff */
#define PTEST_SET_HANDLER 2      /* (vector 0..255, address, flags) */
#define PTEST_SET_CALLBACK 3     /* (PTEST_CALLBACK_*, address) */
#define PTEST_SET_KERNEL_STACK 4 /* (rsp) */
#define PTEST_SET_ROOTS 5        /* (kernel root frame, user root frame or 0): flushes both */
#define PTEST_UPDATE 6           /* (pointer to {address, value} pairs, count, pointer to u32 done or 0, 0 in R10) */
#define PTEST_UPDATE_VA 7        /* (linear address, value, PTEST_FLUSH_* or 0) of its level-1 entry */
#define PTEST_FLUSH 8            /* (PTEST_FLUSH_*, linear address) */
#define PTEST_HALT 9             /* () unmask events and sleep until one is pending */
#define PTEST_SET_TIMER 10       /* (absolute ns of the guest's clock, ~0: none): raises PTEST_PORT_TIMER */
#define PTEST_SEND 11            /* (port): to the vCPU it is bound to, else to the VMM's eventfd */
#define PTEST_BIND 12            /* (port, vCPU) */
#define PTEST_START_VCPU 13      /* (id, rip, rsp, argument -> rdi, root frame, info address in r9) */
#define PTEST_COUNTER 14         /* (index) -> value of the calling vCPU's counter */
#define PTEST_PLANT 15           /* (PTEST_PLANT_*): a core bug, in debug cores only; else -ENOSYS */
#define PTEST_SET_SEGMENT_BASE 16 /* (0 fs, 1 user gs, 2 kernel gs; canonical base) */
#define PTEST_SET_DEBUGREG 17    /* (0..7, value) */
#define PTEST_GET_DEBUGREG 18    /* (0..7) -> value */
#define PTEST_NOOP 19            /* () -> 0: the cost of a call into the core */
#define PTEST_REQUEST 20         /* (a, b) -> the VMM's answer, a + b */
#define PTEST_DROP_FRAME 21      /* (guest frame): forget all shadows and mappings of it */
#define PTEST_IRET 23            /* frame on the stack */
#define PTEST_SET_DESCRIPTOR 24  /* (GDT index 4..511, descriptor): sanitised as Xen does */
#define PTEST_YIELD 25           /* () -> 0: leaves to the module and comes back */
#define PTEST_LIMIT_POOL 26      /* (pages): pretend that the pool ends there; debug cores only */

#define PTEST_CALLBACK_EVENT 0
#define PTEST_CALLBACK_SYSCALL 2

/* SET_HANDLER flags */
#define PTEST_GATE_USER 3  /* bits 1:0: least mode that may use it with INT n; 3: user too */
#define PTEST_GATE_MASK 4  /* set the event mask on entry */

#define PTEST_FLUSH_LOCAL 1
#define PTEST_FLUSH_PAGE 2
#define PTEST_FLUSH_ALL_VCPUS 3
#define PTEST_FLUSH_PAGE_ALL_VCPUS 4

#define PTEST_PORT_TIMER 1
#define PTEST_PORT_CONSOLE 2
#define PTEST_PORT_FIRST_FREE 8

#define PTEST_PLANT_TRAP 0     /* arithmetic overflow */
#define PTEST_PLANT_POINTER 1  /* load from an unmapped address of slot 261 */
#define PTEST_PLANT_GP 2       /* load from a non-canonical address */
#define PTEST_PLANT_STACK 3    /* run off the end of the stack */
#define PTEST_PLANT_LOOP 4     /* never come back */
#define PTEST_PLANT_WRITE 5    /* store to the core's own text */
#define PTEST_PLANT_INVARIANT 6 /* corrupt a shadow entry: the checker must see it */

/* VMM requests (arg[0] of the run page). */
#define PTEST_REQUEST_CONSOLE 1 /* data[]: bytes to print */
#define PTEST_REQUEST_ADD 2     /* arg[1] + arg[2] */

/* vcpu_info, 64 bytes: as Xen's (public/xen.h), so that the event machinery is one. */
#define PTEST_INFO_PENDING 0
#define PTEST_INFO_MASK 1
#define PTEST_INFO_PENDING_SELECTOR 8 /* unused by this personality: see PTEST_INFO_PORTS */
#define PTEST_INFO_CR2 16
#define PTEST_INFO_PORTS 24 /* u64: pending bits of ports 0..63, set by the core, taken by the guest */
#define PTEST_INFO_TIME 32  /* pvclock: version, tsc, ns, mul, shift, flags */

/* What the VMM leaves for the guest; its address is in RSI at the first instruction. */
#define PTEST_START_MAGIC 0x7473657472626d50
#define PTEST_DIRECT_MAP 0xffff888000000000
#ifndef __ASSEMBLER__
struct ptest_start {
	penumbra_u64 magic;
	penumbra_u64 ram_frames;
	penumbra_u64 first_free_frame; /* everything from here to ram_frames is the guest's to use */
	penumbra_u64 root_frame;
	penumbra_u64 info_address;     /* of vCPU 0; vCPU n has the 64 bytes at + 64 * n */
	penumbra_u64 tsc_khz;
	penumbra_u64 vcpus;
	char command_line[512];
};
#endif
#endif
