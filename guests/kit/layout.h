/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that the kit's assembly and its Swift share. */
#ifndef PENUMBRA_KIT_LAYOUT_H
#define PENUMBRA_KIT_LAYOUT_H

#define KIT_MAX_CPUS 8

/*
 * Each vCPU's stacks, from the bottom up: user code; entries from user mode; the guest
 * kernel's own. Aligned to their size, so that RSP tells which vCPU it is.
 */
#define KIT_STACK_STRIDE 0x10000
#define KIT_USER_STACK_TOP 0x4000
#define KIT_ENTRY_STACK_TOP 0x8000
#define KIT_KERNEL_STACK_TOP 0x10000

/* Indices of kit_handlers[]: vectors, and the two callbacks. */
#define KIT_VECTOR_SYSCALL 256
#define KIT_VECTOR_EVENT 257
#define KIT_HANDLER_COUNT 258

/* Bytes from one vector's entry stub to the next. */
#define KIT_VECTOR_STRIDE 16

/* System calls that the kit itself serves for user code. */
#define KIT_SYSCALL_EXIT 0 /* (value): back to the guest kernel that called user mode */
#define KIT_SYSCALL_NEXT 1 /* (value) -> value + 1 */

/* R15 of a probe: no other code of a guest has this value there. */
#define KIT_PROBE_MAGIC 0x70726f6265506e62
#define KIT_TRAP_EXPECTED 8

/* What kit_fpu_hold loads and stores: 16 vector registers of 32 bytes, then these. */
#define KIT_FPU_X87 512
#define KIT_FPU_MXCSR 576
#define KIT_FPU_CONTROL 584

#endif
