/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The vCPU page: one page per vCPU, mapped in both views of the core's world and in
 * the module. It holds the entry frame, what the assembly fast paths need, the state
 * of the host that the world switch puts aside, and the exit.
 *
 * Who writes what: fields under "module" are written by the module while the vCPU is
 * out of guest mode; fields under "core" by the core (Swift and assembly); `attention`
 * by anyone, byte by byte.
 */
#ifndef PENUMBRA_VCPU_H
#define PENUMBRA_VCPU_H

#include "types.h"
#include "address_map.h"
#include "counters.h"

/* frame.vector of entries that are no exception. */
#define PENUMBRA_VECTOR_SYSCALL 0x100 /* syscall instruction, 64-bit code */
#define PENUMBRA_VECTOR_SYSCALL32 0x101 /* syscall instruction, compatibility mode */
#define PENUMBRA_VECTOR_START 0x102 /* first entry of a vCPU */

/* Bytes of penumbra_vcpu.attention; non-zero: do not return to the guest before looking. */
#define PENUMBRA_ATTENTION_NMI 0    /* an NMI came in ring 0: leave, the module sends it again */
#define PENUMBRA_ATTENTION_MCE 1    /* a machine check came in ring 0: leave */
#define PENUMBRA_ATTENTION_POSTED 2 /* a bit in vm.posted is set for this vCPU */
#define PENUMBRA_ATTENTION_TIMER 3  /* the armed deadline has passed */
#define PENUMBRA_ATTENTION_FLUSH 4  /* another vCPU owes this one a TLB flush */
#define PENUMBRA_ATTENTION_START 5  /* vCPU 0 shall start */
#define PENUMBRA_ATTENTION_EVENT 6  /* the core owes a look at the guest's event mask */
#define PENUMBRA_ATTENTION_DONE 7   /* the VMM's answer to a request waits in the run page */

/* guest_mode */
#define PENUMBRA_MODE_USER 0
#define PENUMBRA_MODE_KERNEL 1

/* fast: which assembly fast paths may be taken now. */
#define PENUMBRA_FAST_SYSCALL 1 /* a handler, a kernel stack and a user root are there */
#define PENUMBRA_FAST_IRET 2    /* a user root is there */

/* Number of the iret hypercall, in every personality that uses the assembly's fast path. */
#define PENUMBRA_HYPERCALL_IRET 23

/* RFLAGS bits that a guest may set for itself: all but IOPL, VM, VIF, VIP (SDM vol. 1, 3.4.3). */
#define PENUMBRA_RFLAGS_GUEST 0x254fd5
#define PENUMBRA_RFLAGS_FIXED 0x202 /* IF and the bit that is always one */

#ifndef __ASSEMBLER__

/* What an entry from the guest leaves: pushed by the CPU from rip (or error) up, by the stubs below. */
struct penumbra_frame {
	penumbra_u64 r15, r14, r13, r12, rbp, rbx, r11, r10;
	penumbra_u64 r9, r8, rax, rcx, rdx, rsi, rdi;
	penumbra_u64 vector; /* 0..255, or PENUMBRA_VECTOR_* */
	penumbra_u64 error;  /* error code, 0 where the vector has none */
	penumbra_u64 rip, cs, rflags, rsp, ss;
};
PENUMBRA_ASSERT_SIZE(struct penumbra_frame, 176);

/* Operand of lgdt, lidt, sgdt, sidt: 10 bytes, the limit at an address that is 6 mod 8. */
struct penumbra_table_register {
	penumbra_u16 pad[3];
	penumbra_u16 limit;
	penumbra_u64 base;
};
PENUMBRA_ASSERT_SIZE(struct penumbra_table_register, 16);

/* Intel SDM vol. 3, 8.7 "Task management in 64-bit mode". */
struct penumbra_tss {
	penumbra_u32 reserved0;
	penumbra_u32 rsp0_low, rsp0_high;
	penumbra_u32 rsp12[4];
	penumbra_u32 reserved1[2];
	penumbra_u32 ist[14];
	penumbra_u32 reserved2[2];
	penumbra_u16 reserved3;
	penumbra_u16 io_map_base;
};
PENUMBRA_ASSERT_SIZE(struct penumbra_tss, 104);

struct penumbra_vcpu {
	/* ---- core, assembly: the entry frame ends at TSS.RSP0 ---- */
	struct penumbra_frame frame;

	/* ---- core, fast paths ---- */
	penumbra_u64 self;             /* this page's address in slot 261 */
	penumbra_u64 attention;        /* PENUMBRA_ATTENTION_* bytes */
	penumbra_u64 scratch_rsp, scratch_rax, scratch_rdx, scratch_rcx;
	penumbra_u64 guest_mode;       /* PENUMBRA_MODE_* */
	penumbra_u64 fast;             /* PENUMBRA_FAST_* */
	penumbra_u64 cr3_kernel;       /* CR3 of guest kernel mode; before the first root the core's own */
	penumbra_u64 cr3_user;         /* CR3 of guest user mode, 0: none */
	penumbra_u64 cr3_core;         /* restricted view: CR3 that the core runs on; 0: on the guest's */
	penumbra_u64 stack_top;        /* the core's stack */
	penumbra_u64 kernel_frame;     /* where a frame goes that interrupts user mode: a guest address */
	penumbra_u64 syscall_handler;  /* guest kernel's entry for system calls, 0: none */
	penumbra_u64 gs_base_inactive; /* GS base of the mode that is not running */
	penumbra_u64 upcall;           /* core address of the guest's pending (+0) and mask (+1) bytes */
	penumbra_u64 fs_base, gs_base; /* the guest's, while out of its world */
	penumbra_u64 sel_ds, sel_es, sel_fs, sel_gs;
	penumbra_u64 sel_ldt;          /* PENUMBRA_SEL_CORE_LDT or 0 */
	penumbra_u64 counter[PENUMBRA_COUNTER_COUNT];

	/* ---- core: the exit ---- */
	penumbra_u64 exit_reason;
	penumbra_u64 exit_arg[4];
	penumbra_u64 deadline;         /* guest ns of the next timer event, ~0: none */
	penumbra_u64 xcr0;             /* the guest's, loaded by core and module */
	penumbra_u64 debug_register[8]; /* the guest's; the module loads them when DR7 is armed */
	penumbra_u64 crash_reason, crash_rip, crash_cr2, crash_error, crash_vector;
	penumbra_u64 crash_detail;     /* for PENUMBRA_CRASH_INVARIANT: which */

	/* ---- module: fixed at creation or before entry ---- */
	penumbra_u32 id;
	penumbra_u32 stuck;            /* watchdog: an NMI in ring 0 ends the VM if world_entries is still this */
	penumbra_u32 in_world;         /* non-zero from before entry until after exit: may hold translations */
	penumbra_u32 reserved0;
	penumbra_u64 armed_deadline;   /* guest ns that the module's timer is armed for */
	penumbra_u64 guest_cr4;        /* CR4 of the guest's world: a list, never the host's minus bits */
	penumbra_u64 offered_xcr0;     /* bits that the guest may set in XCR0 */
	penumbra_u64 dr7;              /* armed in the guest's world only, 0: nothing is */
	penumbra_u64 tsc_aux;
	penumbra_u64 stolen_time;      /* ns that this vCPU was ready to run and the host ran others */
	struct penumbra_table_register gdtr, idtr;
	penumbra_u64 tss_descriptor;   /* address of our TSS descriptor, slot 261 */
	penumbra_u64 host_tss_descriptor; /* address of the copy of the host's */

	/* ---- the world switch ---- */
	penumbra_u64 host_rsp, host_cr3, host_cr4, bridge_cr3;
	penumbra_u64 host_fs_base, host_gs_base;
	penumbra_u64 host_ds, host_es, host_fs, host_gs, host_tr, host_ldt;
	penumbra_u64 return_rip;       /* in the module's text, on the bridge */
	struct penumbra_table_register host_gdtr, host_idtr;
	struct penumbra_tss tss __attribute__((aligned(16)));

	/* Initial registers, from the VMM or from the vCPU that starts this one; the core checks them. */
	struct {
		penumbra_u64 rip, rsp, rsi, rdi, root_frame, info_address;
	} start;
};
_Static_assert(sizeof(struct penumbra_vcpu) <= PENUMBRA_PAGE_SIZE, "vCPU page");

/* For Embedded Swift, which has no key paths to ask for an offset. */
enum {
	PENUMBRA_VCPU_OFFSET_ATTENTION = __builtin_offsetof(struct penumbra_vcpu, attention),
	PENUMBRA_VCPU_OFFSET_COUNTER = __builtin_offsetof(struct penumbra_vcpu, counter),
	PENUMBRA_VCPU_OFFSET_DEBUG_REGISTER = __builtin_offsetof(struct penumbra_vcpu, debug_register),
	PENUMBRA_VCPU_OFFSET_IN_WORLD = __builtin_offsetof(struct penumbra_vcpu, in_world),
};
_Static_assert(sizeof(struct penumbra_frame) % 16 == 0, "RSP0 must be aligned");

#endif
#endif
