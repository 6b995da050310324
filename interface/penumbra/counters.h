/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Counters of one vCPU; the module sums them for PENUMBRA_GET_COUNTERS. */
#ifndef PENUMBRA_COUNTERS_H
#define PENUMBRA_COUNTERS_H

#include "types.h"
#include "exit.h"

/* Each line: index, name as the CLI prints it. Indices 0..15 count exits by reason. */
#define PENUMBRA_COUNTERS(X)                                         \
	X(0, exit_none) X(1, exit_interrupt) X(2, exit_nmi)          \
	X(3, exit_mce) X(4, exit_halt) X(5, exit_notify)             \
	X(6, exit_populate) X(7, exit_grow) X(8, exit_kick)          \
	X(9, exit_slice) X(10, exit_timer) X(11, exit_request)       \
	X(12, exit_shutdown) X(13, exit_crash)                       \
	X(16, core_entries) X(17, hypercalls) X(18, user_syscalls)   \
	X(19, fast_syscalls) X(20, fast_irets) X(21, slow_irets)     \
	X(22, root_loads) X(23, tlb_flushes) X(24, page_flushes)     \
	X(25, page_faults) X(26, shadow_fills) X(27, guest_faults)   \
	X(28, unsyncs) X(29, resyncs) X(30, table_updates)           \
	X(31, shadow_pages_made) X(32, shadow_pages_dropped)         \
	X(33, reclaims) X(34, events_injected)                       \
	X(35, exceptions_injected) X(36, emulations)                 \
	X(37, world_entries) X(38, spurious_faults)                  \
	X(39, nmis_in_core) X(40, ibpbs)

#define PENUMBRA_COUNTER_COUNT 64

#ifndef __ASSEMBLER__
enum penumbra_counter {
#define PENUMBRA_COUNTER_ENUM(index, name) PENUMBRA_COUNTER_##name = index,
	PENUMBRA_COUNTERS(PENUMBRA_COUNTER_ENUM)
#undef PENUMBRA_COUNTER_ENUM
};
#endif
#endif
