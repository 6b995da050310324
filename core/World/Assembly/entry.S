/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Entry text: all that runs in ring 0 while a guest's tables are loaded. Mapped in both
 * views; touches only the vCPU page, the interrupt stacks and, in the ranges marked
 * `guest_*_begin/end`, guest memory by guest address (every fault there is fixed up).
 *
 *   1. system calls and iret of the guest: direct switching, without leaving this file
 *   2. every other entry: registers into the entry frame, then the core in Swift
 *   3. the way back to the guest: attention, then iretq or sysretq
 *   4. entries from ring 0: NMI, machine check, fix-ups, and core bugs
 *   5. the world switch: enter from the module's bridge, leave to it
 *
 * Conventions. GS_BASE is the guest's own all the time; KERNEL_GS_BASE holds the vCPU
 * page. The entry frame lies at offset 0 of the vCPU page and TSS.RSP0 at its end, so
 * after an entry from ring 3 RSP itself names the vCPU. IF is 0 everywhere.
 */
#include "penumbra_offsets.h"
#include <penumbra/address_map.h>
#include <penumbra/barriers.h>
#include <penumbra/counters.h>
#include <penumbra/exit.h>
#include <penumbra/image.h>
#include <penumbra/vcpu.h>

#define ATTENTION_BYTE(n) (VCPU_ATTENTION + (n))
/* A field of the vCPU page, with RSP so many bytes below the entry frame's end. */
#define FIELD_BELOW(bytes, field) (VCPU_##field - VCPU_FRAME_END + (bytes))(%rsp)
#define FIELD(field) FIELD_BELOW(0, field)
/* Continuation.completeTableWrite (core/VirtualCPU/Exits.swift) */
#define CONTINUE_TABLE_WRITE 2
#define CRASH_UNCLASSIFIED PENUMBRA_CRASH_CORE_EXCEPTION
/* SDM vol. 3, 16.3.1.2: the interrupted program can go on; it is what met the error. */
#define MSR_MCG_STATUS 0x17a
#define MCG_STATUS_RIPV 1
#define MCG_STATUS_EIPV 2
#define RFLAGS_IF 0x200
#define RFLAGS_IOPL 0x3000

	.macro PUSH_REGISTERS
	pushq	%rdi
	pushq	%rsi
	pushq	%rdx
	pushq	%rcx
	pushq	%rax
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	.endm

	/*
	 * The same for entries whose handling never looks at rbp and r12-r15, which the core's
	 * functions preserve: these stay in their registers, and reach the frame only if the
	 * core leaves the world (core_done_call). rbx becomes the vCPU.
	 */
	.macro PUSH_CALL_REGISTERS
	pushq	%rdi
	pushq	%rsi
	pushq	%rdx
	pushq	%rcx
	pushq	%rax
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%rbx
	leaq	-VCPU_FRAME_RBX(%rsp), %rbx
	.endm

	/* CR3 of the current mode; rbx = vCPU. */
	.macro GUEST_CR3 register
	movq	VCPU_CR3_USER(%rbx), \register
	cmpb	$PENUMBRA_MODE_USER, VCPU_GUEST_MODE(%rbx)
	je	.Lmode\@
	movq	VCPU_CR3_KERNEL(%rbx), \register
.Lmode\@:
	.endm

	.macro POP_REGISTERS
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rax
	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	.endm

	/*
	 * Call the core: rbx = vCPU, the entry frame is complete. What follows must be
	 * core_done, or core_done_call after PUSH_CALL_REGISTERS. After an interrupt gate AC
	 * and DF are still the guest's, and RSP may stand at the very start of the vCPU page:
	 * flags are reset on the core's stack.
	 */
	.macro CALL_CORE function, reset_flags=0
	incq	VCPU_COUNTER_core_entries(%rbx)
	movq	VCPU_CR3_CORE(%rbx), %rax
	testq	%rax, %rax
	jz	.Lview\@
	movq	%rax, %cr3
.Lview\@:
	movq	VCPU_STACK_TOP(%rbx), %rsp
	.if \reset_flags
	pushq	$2
	popfq
	.endif
	movq	%rbx, %rdi
	call	\function
	.endm

	/* RSP = the entry frame's end, the guest's RSP to its slot; changes nothing else. */
	.macro TO_FRAME_END save_guest=1
	swapgs
	.if \save_guest
	movq	%rsp, %gs:VCPU_SCRATCH_RSP
	.endif
	movq	%gs:VCPU_TSS_RSP0, %rsp
	swapgs
	.endm

	/* What the CPU would have pushed, for a system call: all registers are as it left them. */
	.macro CALL_FRAME vector, cs
	pushq	$PENUMBRA_SEL_GUEST_SS
	pushq	FIELD_BELOW(8, SCRATCH_RSP)
	pushq	%r11
	pushq	$\cs
	pushq	%rcx
	pushq	$0
	pushq	$\vector
	.endm

	/*
	 * Fills the return stack, of 32 entries at most, with the int3 behind each call: no entry is
	 * left that someone else's calls made. Needs 256 bytes of stack.
	 */
	.macro FILL_RETURN_STACK
	.rept	32
	call	. + 6			/* five bytes, and the int3 */
	int3
	.endr
	addq	$(32 * 8), %rsp
	lfence
	.endm

	/* The instruction between that label and here is one that a diversion may replace. */
	.macro DIVERTIBLE site
	.if	. - \site < 5
	.error	"\site is too short for a jump"
	.endif
	.endm

	.section .header, "a"
	.globl	image_header
image_header:
	.quad	PENUMBRA_IMAGE_MAGIC
#ifdef PENUMBRA_DEBUG
	.quad	PENUMBRA_IMAGE_DEBUG
#else
	.quad	0
#endif
	.quad	image_entry_text_size
	.quad	image_text_size
	.quad	image_constants_size
	.quad	world_enter
	.quad	interrupt_stubs
	.quad	syscall_entry
	.quad	syscall_entry_smap
	.quad	syscall32_entry
	.quad	image_build_id
	.quad	diversion_table
	.quad	(diversion_table_end - diversion_table) / 24

	.section .entry.text, "ax"

/* ---- 1. system calls and iret -------------------------------------------------- */

/*
 * `syscall` in 64-bit code: rcx = return RIP, r11 = RFLAGS, RSP still the guest's.
 * In guest kernel mode it is a hypercall, in guest user mode a system call for the
 * guest kernel. SFMASK has cleared IF, DF, TF, AC, NT. TSS.RSP0 is where the entry frame
 * ends; from there RSP names the vCPU, and every other register is the guest's.
 */
	.macro SYSCALL_ENTRY name, smap
	.balign 64
	.globl	\name
	.type	\name, @function
\name:
	TO_FRAME_END
	cmpb	$PENUMBRA_MODE_USER, FIELD(GUEST_MODE)
	jne	kernel_call_\name

	/* System call of guest user: frame onto the guest kernel's stack, by guest address. */
	testb	$PENUMBRA_FAST_SYSCALL, FIELD(FAST)
	jz	syscall_slow
	movq	%rax, FIELD(SCRATCH_RAX)
	movq	FIELD(UPCALL), %rax
	cmpb	$0, 1(%rax)		/* user code with events masked: the frame must say so */
	jne	syscall_masked
	movq	FIELD(CR3_KERNEL), %rax
	movq	%rax, %cr3
	movq	FIELD(KERNEL_FRAME), %rax
	.if \smap
	stac
	.endif
guest_store_begin_\name:
	movq	%rcx, 0x00(%rax)	/* rcx */
	movq	%r11, 0x08(%rax)	/* r11 */
	movq	%rcx, 0x10(%rax)	/* rip */
	movq	$PENUMBRA_SEL_GUEST_CS, 0x18(%rax)
	movq	%r11, 0x20(%rax)	/* rflags: IF is set, and events are unmasked */
	pushq	FIELD(SCRATCH_RSP)	/* by way of our stack: rcx and r11 are whole in a fix-up */
	popq	0x28(%rax)
	movq	$PENUMBRA_SEL_GUEST_SS, 0x30(%rax)
guest_store_end_\name:
	.if \smap
	clac
	.endif
	rdgsbase %rcx
	movq	FIELD(GS_BASE_INACTIVE), %r11
	movq	%rcx, FIELD(GS_BASE_INACTIVE)
	wrgsbase %r11
	movq	FIELD(UPCALL), %rcx
	movb	$1, 1(%rcx)
	movb	$PENUMBRA_MODE_KERNEL, FIELD(GUEST_MODE)
	incq	FIELD(COUNTER_fast_syscalls)
	movq	FIELD(SYSCALL_HANDLER), %rcx
	movl	$PENUMBRA_RFLAGS_FIXED, %r11d
	movq	%rax, FIELD(SCRATCH_RSP)
	movq	FIELD(SCRATCH_RAX), %rax
	/* The guest's rsp in its scratch slot, rcx = RIP (canonical), r11 = RFLAGS. */
sysret_check_\name:
	cmpq	$0, FIELD(ATTENTION)
	jne	sysret_attention
	movq	FIELD(SCRATCH_RSP), %rsp
	sysretq
.Lsysret_end_\name:

kernel_call_\name:
	cmpl	$PENUMBRA_HYPERCALL_IRET, %eax
	jne	hypercall
	testb	$PENUMBRA_FAST_IRET, FIELD(FAST)
	jz	hypercall
	/*
	 * iret to guest user. The frame is read by guest address, so it must not name the
	 * core's slot: bits 47..43 are 10000 in the hole, and in its alias in the lower
	 * half that 5-level tables have. Until all checks have passed only rax changes.
	 */
	movl	4 + FIELD(SCRATCH_RSP), %eax
	andl	$(0x1f << (43 - 32)), %eax
	cmpl	$(0x10 << (43 - 32)), %eax
	je	iret_slow
	movq	FIELD(SCRATCH_RSP), %rax
	.if \smap
	stac
	.endif
guest_load_begin_\name:
	pushq	0x40(%rax)		/* ss */
	pushq	0x38(%rax)		/* rsp */
	pushq	0x30(%rax)		/* rflags */
	pushq	0x28(%rax)		/* cs */
	pushq	0x20(%rax)		/* rip */
	pushq	0x10(%rax)		/* rcx */
	pushq	0x08(%rax)		/* r11 */
	pushq	0x00(%rax)		/* rax */
guest_load_end_\name:
	.if \smap
	clac
	.endif
	/* Checks are made on what was read, never on guest memory again. */
	cmpb	$(PENUMBRA_SEL_GUEST_CS & 0xff), 0x20(%rsp)
	jne	iret_slow		/* not 64-bit user code by its usual selectors, e033 or 33 */
	testb	$0x02, 0x29(%rsp)	/* rflags.IF clear: events stay masked, slow path */
	jz	iret_slow
	andq	$PENUMBRA_RFLAGS_GUEST, 0x28(%rsp)
	movq	FIELD_BELOW(64, UPCALL), %rax
	movb	$0, 1(%rax)
	cmpb	$0, 0(%rax)		/* an event is pending: the slow path delivers it */
	jne	iret_slow
	rdgsbase %rcx
	movq	FIELD_BELOW(64, GS_BASE_INACTIVE), %r11
	movq	%rcx, FIELD_BELOW(64, GS_BASE_INACTIVE)
	wrgsbase %r11
	movb	$PENUMBRA_MODE_USER, FIELD_BELOW(64, GUEST_MODE)
	incq	FIELD_BELOW(64, COUNTER_fast_irets)
	movq	FIELD_BELOW(64, CR3_USER), %rcx
	movq	%rcx, %cr3
	popq	%rax
	popq	%r11
	popq	%rcx
	jmp	return_check
	.endm

	SYSCALL_ENTRY syscall_entry, 0
	SYSCALL_ENTRY syscall_entry_smap, 1

	.balign 16
guest_store_fixup:
	pushq	$2			/* AC off again */
	popfq
	TO_FRAME_END save_guest=0
	movq	FIELD(CR3_USER), %rax
	movq	%rax, %cr3
syscall_masked:
	movq	FIELD(SCRATCH_RAX), %rax
syscall_slow:
	CALL_FRAME PENUMBRA_VECTOR_SYSCALL, PENUMBRA_SEL_GUEST_CS
syscall_to_core:
	PUSH_CALL_REGISTERS
	CALL_CORE core_syscall
	jmp	core_done_call

/* `syscall` in compatibility mode (AMD): never a hypercall. */
	.balign 16
	.globl	syscall32_entry
	.type	syscall32_entry, @function
syscall32_entry:
	TO_FRAME_END
	CALL_FRAME PENUMBRA_VECTOR_SYSCALL32, PENUMBRA_SEL_GUEST_CS32
	jmp	syscall_to_core

	.balign 16
guest_load_fixup:
	pushq	$2
	popfq
iret_slow:
	TO_FRAME_END save_guest=0
	movl	$PENUMBRA_HYPERCALL_IRET, %eax
hypercall:
	CALL_FRAME PENUMBRA_VECTOR_SYSCALL, PENUMBRA_SEL_GUEST_CS
	PUSH_CALL_REGISTERS
	CALL_CORE core_hypercall

	/* From CALL_CORE: eax = leave the world (1) or go on (0); rbx is preserved. */
core_done_call:
	testl	%eax, %eax
	jnz	leave_after_call
	cmpq	$0, VCPU_CR3_CORE(%rbx)
	jne	resume_call_restricted
resume_call:
	leaq	VCPU_FRAME_RBX(%rbx), %rsp
	popq	%rbx
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rax
	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	leaq	16(%rsp), %rsp
	/* RSP = &frame.rip; every other register is the guest's. */
return_check:
	cmpq	$0, (VCPU_ATTENTION - VCPU_FRAME_RIP)(%rsp)
	DIVERTIBLE return_check
	jne	return_attention
return_iret:
	iretq
.Lreturn_end:

	/*
	 * The same with VERW. Guest user mode must not find what the core and the guest kernel left
	 * in buffers: this stands for the VERW that a kernel without a hypervisor executes itself
	 * before it returns to its user. A wrong guess of the mode ends at iretq, which serialises.
	 */
return_check_verw:
	cmpb	$PENUMBRA_MODE_USER, (VCPU_GUEST_MODE - VCPU_FRAME_RIP)(%rsp)
	jne	1f
	verw	verw_selector(%rip)
1:	cmpq	$0, (VCPU_ATTENTION - VCPU_FRAME_RIP)(%rsp)
	jne	return_attention
return_iret_verw:
	iretq
.Lreturn_verw_end:

	/* Of the forms of VERW only the one with a memory operand clears buffers. */
	.balign 2
verw_selector:
	.word	PENUMBRA_SEL_CORE_SS

resume_call_restricted:
	GUEST_CR3 %rax
	movq	%rax, %cr3
	jmp	resume_call

leave_after_call:
	movq	%rbp, VCPU_FRAME_RBP(%rbx)
	movq	%r12, VCPU_FRAME_R12(%rbx)
	movq	%r13, VCPU_FRAME_R13(%rbx)
	movq	%r14, VCPU_FRAME_R14(%rbx)
	movq	%r15, VCPU_FRAME_R15(%rbx)
	cmpl	$CONTINUE_TABLE_WRITE, %eax
	jne	world_exit
	CALL_CORE core_table_write
	jmp	core_done

/* ---- 2. interrupts and exceptions ---------------------------------------------- */

/* One stub per vector, PENUMBRA_STUB_STRIDE bytes apart; the module builds the IDT. */
	.balign PENUMBRA_STUB_STRIDE
	.globl	interrupt_stubs
interrupt_stubs:
	.set	vector, 0
	.rept	256
	.balign PENUMBRA_STUB_STRIDE
	.if vector == 1
	jmp	entry_debug
	.elseif vector == 2
	jmp	entry_nmi
	.elseif vector == 8
	jmp	entry_double_fault
	.elseif vector == 18
	jmp	entry_machine_check
	.elseif vector == 14
	pushq	$vector
	jmp	entry_page_fault
	.elseif vector == 10 || vector == 11 || vector == 12 || vector == 13 || vector == 17 || vector == 21 || vector == 29 || vector == 30
	pushq	$vector
	jmp	entry_exception
	.elseif vector < 32
	pushq	$0
	pushq	$vector
	jmp	entry_exception
	.else
	pushq	$0
	pushq	$vector
	jmp	entry_interrupt
	.endif
	.set	vector, vector + 1
	.endr

	.balign 16
entry_exception:
	testb	$3, 24(%rsp)		/* vector, error, rip, cs */
	jz	entry_core
	PUSH_REGISTERS
	movq	%rsp, %rbx
	CALL_CORE core_exception, reset_flags=1
	jmp	core_done

	/* Resolved or reflected, never emulated: no need for the other registers. */
	.balign 16
entry_page_fault:
	testb	$3, 24(%rsp)
	jz	entry_core
	PUSH_CALL_REGISTERS
	CALL_CORE core_exception, reset_flags=1
	jmp	core_done_call

/* An external interrupt is the host's: leave, the module raises it again there. */
	.balign 16
entry_interrupt:
	testb	$3, 24(%rsp)
	jz	entry_core
	PUSH_REGISTERS
	movq	%rsp, %rbx
	movq	$PENUMBRA_EXIT_INTERRUPT, VCPU_EXIT_REASON(%rbx)
	movq	VCPU_FRAME_VECTOR(%rbx), %rax
	movq	%rax, VCPU_EXIT_ARG0(%rbx)
	jmp	world_exit

/*
 * Entries on an interrupt stack. The stack may be the host's (in the switch, our IDT
 * meets its TSS), so the vCPU is found through the IDT register: our IDT is per vCPU.
 */
	.macro FIND_VCPU register
	subq	$16, %rsp
	sidt	6(%rsp)
	movq	8(%rsp), \register
	leaq	(PENUMBRA_VCPU_PAGE - PENUMBRA_VCPU_IDT)(\register), \register
	leaq	16(%rsp), %rsp
	.endm

	/* From ring 3: move the CPU's frame to the entry frame. rax = vCPU; saved: rcx, rax. */
	.macro IST_TO_FRAME vector
	.irp	slot, 0, 8, 16, 24, 32
	movq	(16 + \slot)(%rsp), %rcx
	movq	%rcx, (VCPU_FRAME_RIP + \slot)(%rax)
	.endr
	movq	$0, VCPU_FRAME_ERROR(%rax)
	movq	$\vector, VCPU_FRAME_VECTOR(%rax)
	movq	8(%rsp), %rcx
	movq	%rcx, VCPU_SCRATCH_RAX(%rax)
	movq	0(%rsp), %rcx
	leaq	VCPU_FRAME_VECTOR(%rax), %rsp
	movq	VCPU_SCRATCH_RAX(%rax), %rax
	PUSH_REGISTERS
	movq	%rsp, %rbx
	.endm

	.balign 16
entry_debug:
	pushq	%rax
	pushq	%rcx
	testb	$3, 24(%rsp)		/* rcx, rax, rip, cs */
	jz	debug_in_core
	FIND_VCPU %rax
	IST_TO_FRAME 1
	CALL_CORE core_exception, reset_flags=1
	jmp	core_done
	/*
	 * In ring 0: a data breakpoint of the guest's that was pending when it entered
	 * (MOV SS, SDM vol. 3, 6.8.3), or that our own store to its stack hit. Not ours.
	 */
debug_in_core:
	popq	%rcx
	popq	%rax
	iretq

	.balign 16
entry_nmi:
	pushq	%rax
	pushq	%rcx
	FIND_VCPU %rax
	testb	$3, 24(%rsp)
	jz	nmi_in_core
	IST_TO_FRAME 2
	/* NMIs stay blocked until the host's handler returns. */
	movq	$PENUMBRA_EXIT_NMI, VCPU_EXIT_REASON(%rbx)
	jmp	world_exit
nmi_in_core:
	movb	$1, ATTENTION_BYTE(PENUMBRA_ATTENTION_NMI)(%rax)
	incq	VCPU_COUNTER_nmis_in_core(%rax)
	/* The watchdog names the entry that it found stuck: a later one is innocent. */
	movl	VCPU_STUCK(%rax), %ecx
	cmpl	VCPU_COUNTER_world_entries(%rax), %ecx
	je	core_stuck
	/*
	 * Attention is tested right before iretq and sysretq; between the test and the
	 * return this came too late for it. Send such an RIP back to the test, and RSP to
	 * what the test expects of it.
	 */
restart_window:
	pushq	%rdx
	movq	24(%rsp), %rdx		/* rdx, rcx, rax, rip, cs, rflags, rsp */
	leaq	window_table(%rip), %rcx
1:	cmpq	0(%rcx), %rdx
	jb	2f
	cmpq	8(%rcx), %rdx
	jb	3f
2:	addq	$24, %rcx
	cmpq	$0, 0(%rcx)
	jne	1b
	jmp	4f
3:	movq	0(%rcx), %rdx
	movq	%rdx, 24(%rsp)
	addq	16(%rcx), %rax
	movq	%rax, 48(%rsp)
4:	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

	.balign 8
window_table:
	.quad	return_check, .Lreturn_end, VCPU_FRAME_RIP
	.quad	return_check_verw, .Lreturn_verw_end, VCPU_FRAME_RIP
	.quad	sysret_check_syscall_entry, .Lsysret_end_syscall_entry, VCPU_FRAME_END
	.quad	sysret_check_syscall_entry_smap, .Lsysret_end_syscall_entry_smap, VCPU_FRAME_END
	.quad	0, 0, 0

core_stuck:
	movl	$PENUMBRA_CRASH_CORE_STUCK, %ecx
	movl	$2, %edx
	/* Where the core cannot go on: rax is the vCPU, rcx the reason, rdx the vector. */
abandon_core:
	movq	%rax, %rbx
	movq	16(%rsp), %rax		/* rcx, rax, rip */
	movq	%rax, VCPU_CRASH_RIP(%rbx)
	movq	%rcx, VCPU_CRASH_REASON(%rbx)
	movq	%rdx, VCPU_CRASH_VECTOR(%rbx)
	movq	$PENUMBRA_EXIT_CRASH, VCPU_EXIT_REASON(%rbx)
	jmp	world_exit

	.balign 16
entry_machine_check:
	pushq	%rax
	pushq	%rcx
	FIND_VCPU %rax
	testb	$3, 24(%rsp)
	jz	machine_check_in_core
	IST_TO_FRAME 18
	movq	$PENUMBRA_EXIT_MCE, VCPU_EXIT_REASON(%rbx)
	jmp	world_exit
	/*
	 * An error that this CPU only hears of can wait. One that the core met would be met
	 * again, and a machine check before the host has seen to the first is a shutdown.
	 */
machine_check_in_core:
	pushq	%rdx
	pushq	%rax
	movl	$MSR_MCG_STATUS, %ecx
	rdmsr
	movl	%eax, %ecx
	popq	%rax
	popq	%rdx
	andl	$(MCG_STATUS_RIPV | MCG_STATUS_EIPV), %ecx
	cmpl	$MCG_STATUS_RIPV, %ecx
	jne	1f
	movb	$1, ATTENTION_BYTE(PENUMBRA_ATTENTION_MCE)(%rax)
	jmp	restart_window
1:	movl	$PENUMBRA_CRASH_MACHINE_CHECK, %ecx
	movl	$18, %edx
	jmp	abandon_core

/* ---- 3. back to the guest ------------------------------------------------------ */

	/* As core_done_call, with all registers in the frame. */
core_done:
	testl	%eax, %eax
	jnz	world_exit
resume:
	cmpq	$0, VCPU_CR3_CORE(%rbx)
	jne	resume_restricted
resume_registers:
	movq	%rbx, %rsp
	POP_REGISTERS
	leaq	16(%rsp), %rsp
	jmp	return_check

return_attention:
	subq	$16, %rsp
	PUSH_REGISTERS
	movq	%rsp, %rbx
attention:
	CALL_CORE core_attention
	jmp	core_done

resume_restricted:
	GUEST_CR3 %rax
	movq	%rax, %cr3
	jmp	resume_registers

sysret_attention:
	CALL_FRAME PENUMBRA_VECTOR_SYSCALL, PENUMBRA_SEL_GUEST_CS
	PUSH_REGISTERS
	movq	%rsp, %rbx
	jmp	attention

/* ---- 4. exceptions in ring 0 --------------------------------------------------- */

	/* Stack: vector, error, rip, cs, rflags, rsp, ss. */
	.balign 16
entry_core:
	pushq	%rax
	pushq	%rcx
	movq	32(%rsp), %rax
	leaq	return_iret(%rip), %rcx
	cmpq	%rcx, %rax
	je	iret_fault
	leaq	fixup_table(%rip), %rcx
1:	cmpq	0(%rcx), %rax
	jb	2f
	cmpq	8(%rcx), %rax
	jb	3f
2:	addq	$24, %rcx
	cmpq	$0, 0(%rcx)
	jne	1b
	leaq	return_iret_verw(%rip), %rcx
	cmpq	%rcx, %rax
	je	iret_fault
	jmp	core_bug
3:	movq	16(%rcx), %rcx		/* go on at the fix-up, in the interrupted context */
	movq	%rcx, 32(%rsp)
	popq	%rcx
	popq	%rax
	leaq	16(%rsp), %rsp
	iretq

	/*
	 * The guest's CS, SS or RIP made iretq fault. The CPU pushed its frame below
	 * &frame.rip, over registers that are all still live; rip, cs, rflags, rsp and ss
	 * of the entry frame are whole. Stack: rcx, rax, vector, error, ...
	 */
iret_fault:
	movq	%rsp, %rcx
	andq	$-PENUMBRA_PAGE_SIZE, %rcx
	movq	24(%rsp), %rax
	movq	%rax, VCPU_FRAME_ERROR(%rcx)
	movq	16(%rsp), %rax
	movq	%rax, VCPU_FRAME_VECTOR(%rcx)
	popq	%rcx
	popq	%rax
	leaq	(VCPU_FRAME_VECTOR - IRET_FAULT_STACK)(%rsp), %rsp
	PUSH_REGISTERS
	movq	%rsp, %rbx
	CALL_CORE core_iret_fault
	jmp	core_done
	/* Where RSP stands after the pops: the CPU aligned &frame.rip down to 16, then pushed
	   five words and an error code, the stub a vector. */
	.set	IRET_FAULT_STACK, (VCPU_FRAME_RIP & ~15) - 7 * 8

	.balign 16
entry_double_fault:
	/* Error code 0, on an interrupt stack: RSP went bad, as at the end of the core's stack. */
	pushq	$8
	pushq	%rax
	pushq	%rcx
core_bug:
	FIND_VCPU %rbx
	movq	32(%rsp), %rax
	movq	%rax, VCPU_CRASH_RIP(%rbx)
	movq	24(%rsp), %rax
	movq	%rax, VCPU_CRASH_ERROR(%rbx)
	movq	16(%rsp), %rax
	movq	%rax, VCPU_CRASH_VECTOR(%rbx)
	movq	%cr2, %rax
	movq	%rax, VCPU_CRASH_CR2(%rbx)
	movq	$CRASH_UNCLASSIFIED, VCPU_CRASH_REASON(%rbx)
	movq	$PENUMBRA_EXIT_CRASH, VCPU_EXIT_REASON(%rbx)
	jmp	world_exit

	.balign 8
fixup_table:
	.quad	guest_store_begin_syscall_entry, guest_store_end_syscall_entry, guest_store_fixup
	.quad	guest_store_begin_syscall_entry_smap, guest_store_end_syscall_entry_smap, guest_store_fixup
	.quad	guest_load_begin_syscall_entry, guest_load_end_syscall_entry, guest_load_fixup
	.quad	guest_load_begin_syscall_entry_smap, guest_load_end_syscall_entry_smap, guest_load_fixup
	.quad	guest_copy_begin, guest_copy_end, guest_copy_fixup
	.quad	guest_push_begin, guest_push_end, guest_copy_fixup
	.quad	load_ds, load_ds_end, null_ds
	.quad	load_es, load_es_end, null_es
	.quad	load_fs, load_fs_end, null_fs
	.quad	load_gs, load_gs_end, null_gs
	.quad	load_user_gs, load_user_gs_end, load_user_gs_fixup
	.quad	0, 0, 0

/* ---- 5. the world switch ------------------------------------------------------- */

/*
 * From the module, on the bridge: rsi = vCPU. The module has saved the callee-saved
 * registers, RSP, CR3 and CR4, and loaded KERNEL_GS_BASE and the syscall MSRs. Our IDT
 * comes first, so that whatever happens from here on is ours to handle.
 */
	.balign 64
	.globl	world_enter
	.type	world_enter, @function
world_enter:
	endbr64				/* the host's CR4.CET still holds */
	movq	%rsi, %rbx
	sidt	VCPU_HOST_IDTR(%rbx)
	sgdt	VCPU_HOST_GDTR(%rbx)
	lidt	VCPU_IDTR(%rbx)
	str	VCPU_HOST_TR(%rbx)
	sldt	VCPU_HOST_LDT(%rbx)
	movw	%ds, VCPU_HOST_DS(%rbx)
	movw	%es, VCPU_HOST_ES(%rbx)
	movw	%fs, VCPU_HOST_FS(%rbx)
	movw	%gs, VCPU_HOST_GS(%rbx)
	rdfsbase %rax
	movq	%rax, VCPU_HOST_FS_BASE(%rbx)
	rdgsbase %rax
	movq	%rax, VCPU_HOST_GS_BASE(%rbx)
	lgdt	VCPU_GDTR(%rbx)
	movq	VCPU_TSS_DESCRIPTOR(%rbx), %rax
	movb	$0x89, 5(%rax)		/* available: ltr refuses a busy one */
	movl	$PENUMBRA_SEL_CORE_TSS, %eax
	ltr	%ax
	movq	VCPU_GUEST_CR4(%rbx), %rax
	movq	%rax, %cr4
	movq	VCPU_CR3_CORE(%rbx), %rax
	testq	%rax, %rax
	jnz	1f
	GUEST_CR3 %rax
1:	movq	%rax, %cr3
	/* Not yet on the frame: below it is no room for what a selector that faults pushes. */
	movq	VCPU_STACK_TOP(%rbx), %rsp
	lldt	VCPU_SEL_LDT(%rbx)
	movl	VCPU_SEL_DS(%rbx), %eax
load_ds:
	movl	%eax, %ds
load_ds_end:
	movl	VCPU_SEL_ES(%rbx), %eax
load_es:
	movl	%eax, %es
load_es_end:
	movl	VCPU_SEL_FS(%rbx), %eax
load_fs:
	movl	%eax, %fs
load_fs_end:
	movl	VCPU_SEL_GS(%rbx), %eax
load_gs:
	movl	%eax, %gs
load_gs_end:
	movq	VCPU_FS_BASE(%rbx), %rax
	wrfsbase %rax
	movq	VCPU_GS_BASE(%rbx), %rax
	wrgsbase %rax
	/* The guest's breakpoints may be at addresses of the host's: armed under our IDT only. */
	movq	VCPU_DR7(%rbx), %rax
	testq	%rax, %rax
	jz	1f
	movq	%rax, %dr7
1:	incq	VCPU_COUNTER_world_entries(%rbx)
world_enter_end:
	.byte	0xe9			/* jmp resume, in its long form: a diversion may replace it */
	.long	resume - world_enter_end - 5
	int3

	/* Predictions of the host's returns, and what it left in buffers, are not the guest's. */
enter_rsb:
	FILL_RETURN_STACK
	jmp	resume
enter_rsb_verw:
	FILL_RETURN_STACK
enter_verw:
	verw	verw_selector(%rip)
	jmp	resume

	/* A selector that no longer loads becomes null, as after a descriptor's removal. */
null_ds:
	xorl	%eax, %eax
	jmp	load_ds
null_es:
	xorl	%eax, %eax
	jmp	load_es
null_fs:
	xorl	%eax, %eax
	jmp	load_fs
null_gs:
	xorl	%eax, %eax
	jmp	load_gs

/* rbx = vCPU; exit_reason is set and the guest's registers are in the frame. Any stack. */
	.balign 64
	.globl	world_exit
	.type	world_exit, @function
world_exit:
	cmpq	$0, VCPU_DR7(%rbx)
	je	1f
	xorl	%eax, %eax
	movq	%rax, %dr7
1:	movw	%ds, VCPU_SEL_DS(%rbx)
	movw	%es, VCPU_SEL_ES(%rbx)
	movw	%fs, VCPU_SEL_FS(%rbx)
	movw	%gs, VCPU_SEL_GS(%rbx)
	rdfsbase %rax
	movq	%rax, VCPU_FS_BASE(%rbx)
	rdgsbase %rax
	movq	%rax, VCPU_GS_BASE(%rbx)
	movq	VCPU_BRIDGE_CR3(%rbx), %rax
	movq	%rax, %cr3
	movq	VCPU_HOST_CR4(%rbx), %rax
	movq	%rax, %cr4
	movq	VCPU_HOST_RSP(%rbx), %rsp
	pushq	$2			/* the host gets DF and AC clear, whatever was interrupted */
	popfq
	/* The host's GDT is read-only: take up its TSS from the copy in ours, same selector. */
	movq	VCPU_HOST_TSS_DESCRIPTOR(%rbx), %rax
	movb	$0x89, 5(%rax)
	ltr	VCPU_HOST_TR(%rbx)
	lgdt	VCPU_HOST_GDTR(%rbx)
	lldt	VCPU_HOST_LDT(%rbx)
	movl	VCPU_HOST_DS(%rbx), %eax
	movl	%eax, %ds
	movl	VCPU_HOST_ES(%rbx), %eax
	movl	%eax, %es
	movl	VCPU_HOST_FS(%rbx), %eax
	movl	%eax, %fs
	movl	VCPU_HOST_GS(%rbx), %eax
	movl	%eax, %gs
	movq	VCPU_HOST_FS_BASE(%rbx), %rax
	wrfsbase %rax
	movq	VCPU_HOST_GS_BASE(%rbx), %rax
	wrgsbase %rax
	lidt	VCPU_HOST_IDTR(%rbx)
world_exit_return:
	jmpq	*VCPU_RETURN_RIP(%rbx)
	DIVERTIBLE world_exit_return
	int3

	/*
	 * The same where branches are predicted from the guest's. The guest runs at the host's kernel
	 * addresses, so SMEP does not keep its entries in the return stack from being of use, and the
	 * host is mapped by now: no near return before the fill, no indirect jump at all. A far return
	 * is not predicted.
	 */
world_exit_rsb:
	FILL_RETURN_STACK
	pushq	$PENUMBRA_SEL_CORE_CS	/* the host's own */
	pushq	VCPU_RETURN_RIP(%rbx)
	lretq
	int3

	/* See interface/penumbra/image.h. */
	.balign 8
diversion_table:
	.quad	world_enter_end, enter_rsb, PENUMBRA_BARRIER_RSB_ENTER
	.quad	world_enter_end, enter_verw, PENUMBRA_BARRIER_VERW
	.quad	world_enter_end, enter_rsb_verw, PENUMBRA_BARRIER_RSB_ENTER | PENUMBRA_BARRIER_VERW
	.quad	return_check, return_check_verw, PENUMBRA_BARRIER_VERW
	.quad	world_exit_return, world_exit_rsb, PENUMBRA_BARRIER_RSB_EXIT
diversion_table_end:

/* ---- 6. what may fault, for the core's Swift: guest memory by guest address, GS ----------------------- */

/*
 * bool ccore_guest_copy(to, from, bytes, smap): one of the two is an address of the guest's,
 * which the caller has checked against the hole, under the guest kernel's root. False if an
 * access faulted: the walker then finds out why. Some words may have been copied.
 */
	.section .text.runtime, "ax"
	.balign 16
	.globl	ccore_guest_copy
	.type	ccore_guest_copy, @function
ccore_guest_copy:
	testl	%ecx, %ecx
	jz	guest_copy_begin
	stac
guest_copy_begin:
	cmpl	$64, %edx		/* a frame, or four requests of an update */
	je	5f
	cmpl	$16, %edx		/* one request */
	je	6f
	subq	$8, %rdx
	jb	2f
1:	movq	(%rsi), %rax
	movq	%rax, (%rdi)
	addq	$8, %rsi
	addq	$8, %rdi
	subq	$8, %rdx
	jae	1b
2:	addq	$8, %rdx
	jz	guest_copy_end
3:	movb	(%rsi), %al
	movb	%al, (%rdi)
	incq	%rsi
	incq	%rdi
	decq	%rdx
	jnz	3b
	jmp	guest_copy_end
5:	.irp	word, 56, 48, 40, 32, 24, 16
	movq	\word(%rsi), %rax
	movq	%rax, \word(%rdi)
	.endr
6:	movq	8(%rsi), %rax
	movq	%rax, 8(%rdi)
	movq	(%rsi), %rax
	movq	%rax, (%rdi)
guest_copy_end:
	movl	$1, %eax
7:	testl	%ecx, %ecx
	jz	8f
	clac
8:	ret
guest_copy_fixup:
	xorl	%eax, %eax
	jmp	7b
	.size	ccore_guest_copy, . - ccore_guest_copy

/* bool ccore_load_gs(selector): false if the live tables do not take it; GS is as it was then. */
	.balign 16
	.globl	ccore_load_gs
	.type	ccore_load_gs, @function
ccore_load_gs:
	movl	$1, %eax
load_user_gs:
	movl	%edi, %gs
load_user_gs_end:
	ret
load_user_gs_fixup:
	xorl	%eax, %eax
	ret
	.size	ccore_load_gs, . - ccore_load_gs

/*
 * bool ccore_guest_push_fault(to, vcpu, error, smap): the frame of a page fault in guest user
 * mode, events unmasked, from the entry frame to the guest kernel's stack: as ccore_guest_copy,
 * with the same end.
 */
	.balign 16
	.globl	ccore_guest_push_fault
	.type	ccore_guest_push_fault, @function
ccore_guest_push_fault:
	testl	%ecx, %ecx
	jz	guest_push_begin
	stac
guest_push_begin:
	movq	VCPU_FRAME_RCX(%rsi), %rax
	movq	%rax, 0x00(%rdi)
	movq	VCPU_FRAME_R11(%rsi), %rax
	movq	%rax, 0x08(%rdi)
	movq	%rdx, 0x10(%rdi)
	movq	VCPU_FRAME_RIP(%rsi), %rax
	movq	%rax, 0x18(%rdi)
	movzwl	VCPU_FRAME_CS(%rsi), %eax
	movq	%rax, 0x20(%rdi)
	movl	VCPU_FRAME_RFLAGS(%rsi), %eax
	andl	$~RFLAGS_IOPL, %eax
	orl	$RFLAGS_IF, %eax
	movq	%rax, 0x28(%rdi)
	movq	VCPU_FRAME_RSP(%rsi), %rax
	movq	%rax, 0x30(%rdi)
	movq	VCPU_FRAME_SS(%rsi), %rax
	movq	%rax, 0x38(%rdi)
guest_push_end:
	jmp	guest_copy_end
	.size	ccore_guest_push_fault, . - ccore_guest_push_fault
