/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What opcodes.swift and opcodes.S agree on: where instructions and their operands are, and the
 * context, pages that only the guest kernel has, out of reach of what an instruction can name by
 * 32 bits of displacement.
 */
#ifndef PENUMBRA_GUEST_XENPV_OPCODES_H
#define PENUMBRA_GUEST_XENPV_OPCODES_H

/* One instruction at the start of each slot, int3 all around; not writable. */
#define OPCODES_SLOTS 0xc0000000
#define OPCODES_SLOT_SHIFT 8
#define OPCODES_SLOT_COUNT 256
/* From the middle, which all registers point to, to a word that holds a good SS. */
#define OPCODES_STACK_SELECTOR 0x10000

#define OPCODES_CONTEXT 0x10000000000
#define OPCODES_INDEX 0x00	/* of the slot that runs, or is next */
#define OPCODES_LIMIT 0x08	/* slots to run */
#define OPCODES_RUNNING 0x10	/* a slot's instruction runs: a trap is its end */
#define OPCODES_MIDDLE 0x18	/* what all registers hold */
#define OPCODES_CALLER 0x20	/* RSP of opcodes_run's caller; 0: it does not run */
#define OPCODES_LOST 0x28	/* the end, plus one, that came while no instruction ran */
#define OPCODES_MAIN_ROOT 0x30	/* mmuext_op that loads the root of the kernel's own work */
#define OPCODES_TEST_ROOT 0x48	/* ... and that of the instructions */
#define OPCODES_COUNTS 0x100	/* of ends, 8 bytes each */
#define OPCODES_ENDS 0x400	/* how each slot ended, a byte each */
#define OPCODES_WAYS 0x1000	/* how each slot is entered, 8 bytes each */
#define OPCODES_STACK 0x3000	/* top of the runner's stack */
#define OPCODES_ENTRY_STACK 0x4000
#define OPCODES_INFO 0x4000	/* shared_info */

/* How a slot is entered: rflags in bits 31:0, CS in bits 63:48, and these bits. */
#define OPCODES_WAY_JUMP 32	/* by a jump, without an iret; kernel mode */
#define OPCODES_WAY_SYSCALL 33	/* iret says that it returns from a system call */

/* How a slot ends: by an exception's vector, or by one of these. */
#define OPCODES_END_EVENT 32
#define OPCODES_END_FAILSAFE 33
#define OPCODES_END_SYSCALL 34
#define OPCODES_END_SYSCALL32 35
#define OPCODES_END_INT80 36
#define OPCODES_END_COUNT 37

#ifndef __ASSEMBLER__
/* Runs slots from INDEX to LIMIT; sooner back after an event. */
extern void opcodes_run(void);
extern uint8_t opcodes_gates[];
extern void opcodes_event(void);
extern uint64_t opcodes_read_msr(uint64_t number);

/* The entry for an end of a slot. */
static inline uint64_t opcodes_gate(uint64_t end)
{
	return (uint64_t)opcodes_gates + 16 * end;
}
static inline uint64_t opcodes_event_gate(void)
{
	return (uint64_t)opcodes_event;
}
#endif

#endif
