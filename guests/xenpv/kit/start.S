/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel for Xen PV in a page of assembly: notes for the loader, first instruction, one
 * entry for all traps. Frames of entries and of iret are those of Xen's public headers
 * (arch-x86/xen-x86_64.h): an entry finds rcx, r11, [error], rip, cs, rflags, rsp, ss; iret
 * takes rax, r11, rcx, flags, rip, cs, rflags, rsp, ss.
 */
#define XEN_IRET 23
#define XEN_SCHED 29
#define SHUTDOWN 2
#define SHUTDOWN_CRASH 3

	.macro FUNCTION name
	.section .text.\name, "ax"
	.globl	\name
	.type	\name, @function
\name:
	.endm

	/* public/elfnote.h; the owner's name and every description are padded to 4 bytes. */
	.macro NOTE type, size
	.long	4, \size, \type
	.asciz	"Xen"
	.endm

	.section .note.Xen, "a", @note
	NOTE	1, 8			/* ENTRY */
	.quad	xenpv_start
	NOTE	3, 8			/* VIRT_BASE */
	.quad	0
	NOTE	5, 8			/* XEN_VERSION */
	.asciz	"xen-3.0"

/* rsi = struct xenpv_start_info */
FUNCTION xenpv_start
	leaq	xenpv_stack_top(%rip), %rsp
	xorl	%ebp, %ebp
	movq	%rsi, %rdi
	call	xenpv_main
	ud2

/* Another vCPU, on the stack that its context named: rdi = its number. */
FUNCTION xenpv_secondary_start
	xorl	%ebp, %ebp
	call	xenpv_secondary_main
	ud2

/* ---- entries ---- */

FUNCTION xenpv_trap_with_error
	popq	%rcx
	popq	%r11
	addq	$8, %rsp
	jmp	trapped
FUNCTION xenpv_trap
	popq	%rcx
	popq	%r11
trapped:
	lock incq xenpv_traps(%rip)
	testb	$3, 8(%rsp)
	jnz	user_trapped
	cmpq	$0, context_tried(%rip)
	jne	user_trapped
	pushq	%rax
	leaq	probes_begin(%rip), %rax
	cmpq	%rax, 8(%rsp)
	jb	unexpected
	leaq	probes_end(%rip), %rax
	cmpq	%rax, 8(%rsp)
	jae	unexpected
	leaq	probe_failed(%rip), %rax
	movq	%rax, 8(%rsp)
	popq	%rax
	pushq	$0
	pushq	%rcx
	pushq	%r11
	pushq	%rax
	movl	$XEN_IRET, %eax
	syscall
	ud2

unexpected:
	movl	$SHUTDOWN_CRASH, -4(%rsp)
	leaq	-4(%rsp), %rsi
	movl	$SHUTDOWN, %edi
	movl	$XEN_SCHED, %eax
	syscall
	ud2

/*
 * Events, and debug traps: looked at by nobody. User code ends by them, the kernel's goes on.
 */
FUNCTION xenpv_event
	pushq	%rax
	movq	xenpv_info(%rip), %rax
	movb	$0, (%rax)
	popq	%rax
FUNCTION xenpv_ignore
	popq	%rcx
	popq	%r11
	testb	$3, 8(%rsp)
	jnz	user_trapped
	pushq	$0
	pushq	%rcx
	pushq	%r11
	pushq	%rax
	movl	$XEN_IRET, %eax
	syscall
	ud2

/* ---- probes ---- */

	.section .text.probes, "ax"
probes_begin:
	.globl	xenpv_try_load, xenpv_try_store, xenpv_try_exchange
xenpv_try_load:
	movq	(%rdi), %rax
	xorl	%eax, %eax
	ret
xenpv_try_store:
	movq	%rsi, (%rdi)
	xorl	%eax, %eax
	ret
xenpv_try_exchange:
	xchgq	%rsi, (%rdi)
	xorl	%eax, %eax
	ret
probes_end:
probe_failed:
	movl	$1, %eax
	ret

/* (address, stack, rflags): a trap from user mode makes this return. */
FUNCTION xenpv_try_user
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, user_caller(%rip)
	pushq	$0xe02b
	pushq	%rsi
	pushq	%rdx
	pushq	$0xe033
	pushq	%rdi
	pushq	$0
	pushq	$0
	pushq	$0
	pushq	$0
	movl	$XEN_IRET, %eax
	syscall
	ud2
user_trapped:
	movq	$0, context_tried(%rip)
	movq	user_caller(%rip), %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

/*
 * (frame of iret): whatever comes of it is a trap, of user mode, or of kernel mode on the stack
 * that the frame names.
 */
FUNCTION xenpv_try_context
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, user_caller(%rip)
	movq	$1, context_tried(%rip)
	movq	%rdi, %rsp
	movl	$XEN_IRET, %eax
	syscall
	ud2

	.section .bss.xenpv, "aw", @nobits
	.balign	4096
	.globl	xenpv_shared_page, xenpv_scratch, xenpv_stack_top, xenpv_entry_stack_top
	.globl	xenpv_traps, xenpv_info, xenpv_secondary_stack_top
/* Where shared_info is mapped. */
xenpv_shared_page:
	.skip	4096
/* Records and lists of calls. */
xenpv_scratch:
	.skip	0x4000
	.skip	0x8000
xenpv_stack_top:
	.skip	0x4000
/* Frames of what interrupts user mode. */
xenpv_entry_stack_top:
	.skip	0x4000
xenpv_secondary_stack_top:
xenpv_traps:
	.skip	8
/* This vCPU's vcpu_info. */
xenpv_info:
	.skip	8
user_caller:
	.skip	8
/* A context is being tried: a trap in kernel mode ends it too. */
context_tried:
	.skip	8
