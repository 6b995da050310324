/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The exit protocol: why the core gives the CPU back to the module. A closed list;
 * an exit with any other number is a bug and ends the VM.
 *
 * Every exit is restartable: the core keeps nothing on its stack across one. What was
 * interrupted (a fault, a hypercall) is executed again by the guest, or goes on from
 * progress recorded in the guest's registers.
 */
#ifndef PENUMBRA_EXIT_H
#define PENUMBRA_EXIT_H

#include "types.h"

#define PENUMBRA_EXIT_NONE 0      /* never leaves the core */
#define PENUMBRA_EXIT_INTERRUPT 1 /* arg0: vector. Raised again for the host */
#define PENUMBRA_EXIT_NMI 2       /* an NMI came while the guest ran; NMIs are still blocked */
#define PENUMBRA_EXIT_MCE 3       /* a machine check came while the guest ran */
#define PENUMBRA_EXIT_HALT 4      /* sleep until the deadline or until posted */
#define PENUMBRA_EXIT_NOTIFY 5    /* arg0: port whose eventfd is signalled; re-enter at once */
#define PENUMBRA_EXIT_POPULATE 6  /* arg0: first guest frame, arg1: count */
#define PENUMBRA_EXIT_GROW 7      /* the core's pool needs another chunk */
#define PENUMBRA_EXIT_KICK 8      /* arg0: bit mask of vCPU ids that shall look at their attention; arg1: below */
#define PENUMBRA_EXIT_SLICE 9     /* bounded time is up: look at the host's work and re-enter */
#define PENUMBRA_EXIT_TIMER 10    /* the deadline moved closer than what is armed */
#define PENUMBRA_EXIT_REQUEST 11  /* for the VMM: number and arguments in the run page */
#define PENUMBRA_EXIT_SHUTDOWN 12 /* arg0: penumbra shutdown kind, arg1: status */
#define PENUMBRA_EXIT_CRASH 13    /* the VM is dead: crash fields of the vCPU page say why */
#define PENUMBRA_EXIT_COUNT 14
/* Seen by the VMM only, never made by the core: */
#define PENUMBRA_EXIT_SIGNAL 32   /* a signal, or other work on the calling thread's way back */
#define PENUMBRA_EXIT_DEAD 33     /* the VM was already ended; the crash fields say why */

/* arg1 of a kick: until they are out of guest mode, so that their TLBs are flushed. */
#define PENUMBRA_KICK_WAITS 1

#define PENUMBRA_SHUTDOWN_POWEROFF 0
#define PENUMBRA_SHUTDOWN_REBOOT 1
#define PENUMBRA_SHUTDOWN_CRASH 2 /* the guest kernel panicked */

/* Why a VM was ended by force. Guest's fault unless said otherwise. */
#define PENUMBRA_CRASH_NONE 0
#define PENUMBRA_CRASH_TRIPLE_FAULT 1     /* an event could not be delivered: no handler */
#define PENUMBRA_CRASH_BAD_STACK 2        /* the guest's kernel stack took no frame */
#define PENUMBRA_CRASH_BAD_ROOT 3         /* a root that is no frame of the guest's */
#define PENUMBRA_CRASH_FAULT_LOOP 4       /* the same fault again and again without an injection */
#define PENUMBRA_CRASH_BAD_IRET 5         /* iret to a context that cannot be */
#define PENUMBRA_CRASH_OUT_OF_POOL 6      /* not even reclaim freed a pool page */
#define PENUMBRA_CRASH_OUT_OF_MEMORY 7    /* the host had no page to give (module) */
#define PENUMBRA_CRASH_BAD_START 8        /* a vCPU's initial registers are impossible */
#define PENUMBRA_CRASH_CORE_TRAP 16       /* core bug: checked arithmetic, bounds, precondition (#UD) */
#define PENUMBRA_CRASH_CORE_PAGE_FAULT 17 /* core bug */
#define PENUMBRA_CRASH_CORE_GP 18         /* core bug */
#define PENUMBRA_CRASH_CORE_DOUBLE_FAULT 19 /* core bug: stack overflow among others */
#define PENUMBRA_CRASH_CORE_EXCEPTION 20  /* core bug: any other vector, in crash_vector */
#define PENUMBRA_CRASH_CORE_STUCK 21      /* core bug: seconds in the core without an exit */
#define PENUMBRA_CRASH_INVARIANT 22       /* core bug: the checker found a broken invariant */
#define PENUMBRA_CRASH_PROTOCOL 23        /* core bug: an exit that is not on the list (module) */
#define PENUMBRA_CRASH_KILLED 24          /* the VMM asked for it */
#define PENUMBRA_CRASH_MACHINE_CHECK 25   /* the core met an error in the host's memory */

#endif
