/* SPDX-License-Identifier: Apache-2.0 */
/* What the Swift of the Xen PV guests cannot say: the labels of start.S, and its probes. */
#ifndef PENUMBRA_GUEST_XENPV_H
#define PENUMBRA_GUEST_XENPV_H

#include "../../kit/kit.h"
#include "opcodes.h"
#include <penumbra/xen.h>

extern void xenpv_trap(void);
extern void xenpv_trap_with_error(void);
extern void xenpv_event(void);
extern void xenpv_ignore(void);
extern void xenpv_secondary_start(void);
extern uint8_t xenpv_secondary_stack_top[], xenpv_entry_stack_top[], xenpv_shared_page[], xenpv_scratch[];
/* The first page behind code and constants, which begin at 1 MiB. */
extern uint8_t xenpv_text_end[];
/* Traps taken so far; where this vCPU's vcpu_info is. */
extern uint64_t xenpv_traps, xenpv_info;

/* One access; 1 if it trapped. */
extern uint64_t xenpv_try_load(uint64_t address);
extern uint64_t xenpv_try_store(uint64_t address, uint64_t value);
extern uint64_t xenpv_try_exchange(uint64_t address, uint64_t value);
/* Runs user code at an address until it traps into the kernel. */
extern void xenpv_try_user(uint64_t address, uint64_t stack, uint64_t rflags);
/* iret from a frame; returns by the trap that comes of it. */
extern void xenpv_try_context(uint64_t frame);

static inline uint64_t xenpv_entry_stack(void)
{
	return (uint64_t)xenpv_entry_stack_top;
}
static inline uint64_t xenpv_secondary_stack(void)
{
	return (uint64_t)xenpv_secondary_stack_top;
}
static inline uint64_t xenpv_shared_address(void)
{
	return (uint64_t)xenpv_shared_page;
}
static inline uint64_t xenpv_scratch_address(void)
{
	return (uint64_t)xenpv_scratch;
}
static inline uint64_t xenpv_text_end_address(void)
{
	return (uint64_t)xenpv_text_end;
}
static inline uint64_t xenpv_traps_taken(void)
{
	return *(volatile uint64_t *)&xenpv_traps;
}
static inline void xenpv_set_info(uint64_t address)
{
	xenpv_info = address;
}

#endif
