/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the slots that opcodes.swift has filled. Between entry and end of a slot nothing of this
 * kernel is writable but the context; so an instruction that stores wherever it likes cannot
 * change what comes after it. No handler reads a frame: what it held is known or does not matter.
 */
#include "opcodes.h"

#define CALL_IRET 23
#define CALL_EXTENDED 26
#define CALL_SCHEDULER 29
#define SHUTDOWN 2
#define SHUTDOWN_CRASH 3
#define DOMAIN_SELF 0x7ff0
#define DATA_SELECTOR 0xe02b

	.section .text.opcodes, "ax"
	.globl	opcodes_run
	.type	opcodes_run, @function
opcodes_run:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movabsq	$OPCODES_CONTEXT, %rbx
	movq	%rsp, OPCODES_CALLER(%rbx)
	leaq	OPCODES_STACK(%rbx), %rsp
	leaq	OPCODES_TEST_ROOT(%rbx), %rdi
	call	load_root

next:
	movq	OPCODES_INDEX(%rbx), %rcx
	cmpq	OPCODES_LIMIT(%rbx), %rcx
	jae	finished
	leaq	OPCODES_STACK(%rbx), %rsp
	movq	OPCODES_MIDDLE(%rbx), %rdx
	movq	OPCODES_WAYS(%rbx, %rcx, 8), %rax
	movl	$OPCODES_SLOTS, %esi
	shlq	$OPCODES_SLOT_SHIFT, %rcx
	addq	%rcx, %rsi
	movl	%eax, %edi
	btq	$OPCODES_WAY_JUMP, %rax
	jc	by_jump

	pushq	$DATA_SELECTOR
	pushq	%rdx
	pushq	%rdi
	movq	%rax, %rdi
	shrq	$48, %rdi
	pushq	%rdi
	pushq	%rsi
	shrq	$(OPCODES_WAY_SYSCALL - 8), %rax
	andl	$0x100, %eax		/* VGCF_in_syscall */
	pushq	%rax
	pushq	%rdx			/* rcx */
	pushq	%rdx			/* r11 */
	pushq	%rdx			/* rax */
	movq	$1, OPCODES_RUNNING(%rbx)
	call	spread
	movq	%rdx, %rbx
	movl	$CALL_IRET, %eax
	syscall
	ud2

/* Events are unmasked first and looked for then: one between the two is taken. */
by_jump:
	movq	%rsi, -8(%rdx)
	pushq	%rdi
	movq	$1, OPCODES_RUNNING(%rbx)
	movb	$0, OPCODES_INFO + 1(%rbx)
	cmpb	$0, OPCODES_INFO(%rbx)
	jne	event_is_pending
	call	spread
	movq	%rdx, %rax
	movq	%rdx, %rcx
	popfq
	leaq	-8(%rdx), %rsp
	movq	%rdx, %rbx
	ret

/* rdx to all registers but rax, rbx, rcx and rsp. */
spread:
	movq	%rdx, %rbp
	movq	%rdx, %rsi
	movq	%rdx, %rdi
	movq	%rdx, %r8
	movq	%rdx, %r9
	movq	%rdx, %r10
	movq	%rdx, %r11
	movq	%rdx, %r12
	movq	%rdx, %r13
	movq	%rdx, %r14
	movq	%rdx, %r15
	ret

/* Back on the root of the kernel's own work; the FPU as Swift's code may expect it. */
finished:
	pushq	$2
	popfq
	leaq	OPCODES_MAIN_ROOT(%rbx), %rdi
	call	load_root
	movq	OPCODES_CALLER(%rbx), %rsp
	movq	$0, OPCODES_CALLER(%rbx)
	fninit
	ldmxcsr	fpu_control(%rip)
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

fpu_control:
	.long	0x1f80

/* (mmuext_op) */
load_root:
	movl	$1, %esi
	xorl	%edx, %edx
	movl	$DOMAIN_SELF, %r10d
	movl	$CALL_EXTENDED, %eax
	syscall
	testq	%rax, %rax
	jnz	crash
	ret

/* ---- ends, all with events masked ---- */

	.balign	16
	.globl	opcodes_gates
opcodes_gates:
	.set	end, 0
	.rept	OPCODES_END_COUNT
	movl	$end, %ecx
	jmp	ended
	.balign	16
	.set	end, end + 1
	.endr

	.globl	opcodes_event
opcodes_event:
	movl	$OPCODES_END_EVENT, %ecx
ended:
	movabsq	$OPCODES_CONTEXT, %rbx
	leaq	OPCODES_STACK(%rbx), %rsp
	pushq	$2
	popfq
	incq	OPCODES_COUNTS(%rbx, %rcx, 8)
	cmpq	$0, OPCODES_RUNNING(%rbx)
	je	ended_none
	movq	$0, OPCODES_RUNNING(%rbx)
	movq	OPCODES_INDEX(%rbx), %rdx
	movb	%cl, OPCODES_ENDS(%rbx, %rdx)
	incq	OPCODES_INDEX(%rbx)
	cmpl	$OPCODES_END_EVENT, %ecx
	jne	next
	jmp	finished

/* An event may come at any time; all else must not. */
ended_none:
	cmpl	$OPCODES_END_EVENT, %ecx
	je	finished
	cmpq	$0, OPCODES_CALLER(%rbx)
	je	crash
	incq	%rcx
	movq	%rcx, OPCODES_LOST(%rbx)
	jmp	finished

event_is_pending:
	movb	$1, OPCODES_INFO + 1(%rbx)
	movq	$0, OPCODES_RUNNING(%rbx)
	jmp	finished

crash:
	movl	$SHUTDOWN_CRASH, -4(%rsp)
	leaq	-4(%rsp), %rsi
	movl	$SHUTDOWN, %edi
	movl	$CALL_SCHEDULER, %eax
	syscall
	ud2

/* (number) */
	.globl	opcodes_read_msr
	.type	opcodes_read_msr, @function
opcodes_read_msr:
	movl	%edi, %ecx
	rdmsr
	shlq	$32, %rdx
	orq	%rdx, %rax
	ret
