/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First instruction, entries from the core, the way into user mode and back.
 *
 * An entry pops RCX and R11, completes a struct penumbra_frame on the stack, calls
 * kit_trap(frame) and returns with the iret hypercall, which takes, from RSP up: rax, r11,
 * rcx, flags (0), rip, cs, rflags, rsp, ss. The handlers use no SSE: so FPU registers
 * are whatever the interrupted code had in them.
 */
#include "layout.h"
#include <penumbra/address_map.h>
#include <penumbra/test_abi.h>

#define RFLAGS_IF 0x200

	.macro FUNCTION name
	.section .text.\name, "ax"
	.globl	\name
	.type	\name, @function
\name:
	.endm

/* rsi = struct ptest_start. The VMM's RSP is not relied on. guest_main is the guest's own. */
FUNCTION kit_start
	leaq	kit_stacks + KIT_KERNEL_STACK_TOP(%rip), %rsp
	xorl	%ebp, %ebp
	movq	%rsi, %rdi
	call	kit_main
	call	guest_main
	call	kit_pass
	ud2

/* rdi = vCPU id; RSP as the starting vCPU asked for. */
FUNCTION kit_secondary_start
	xorl	%ebp, %ebp
	call	kit_secondary_main
	ud2

/* ---- entries ---- */

	.section .text.kit_vectors, "ax"
	.balign	KIT_VECTOR_STRIDE
	.globl	kit_vectors
kit_vectors:
	.set	vector, 0
	.rept	256
	.balign	KIT_VECTOR_STRIDE
	popq	%rcx
	popq	%r11
	/* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX push an error code: Intel SDM vol. 3, 6.15. */
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
	      vector == 29 || vector == 30)
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_common
	.set	vector, vector + 1
	.endr

FUNCTION kit_event_entry
	popq	%rcx
	popq	%r11
	pushq	$0
	pushq	$KIT_VECTOR_EVENT
	jmp	trap_common

FUNCTION kit_syscall_entry
	popq	%rcx
	popq	%r11
	pushq	$0
	pushq	$KIT_VECTOR_SYSCALL
	jmp	trap_common

/* The shortest system call there is: to measure the core, not the kit. */
FUNCTION kit_syscall_fast_entry
	popq	%rcx
	popq	%r11
	pushq	$0
	pushq	%rcx
	pushq	%r11
	pushq	%rax
	movl	$PTEST_IRET, %eax
	syscall
	ud2

	.section .text.trap_common, "ax"
trap_common:
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
	movq	%rsp, %rdi
	movq	%rsp, %rbx
	andq	$-16, %rsp
	cld
	call	kit_trap
	movq	%rbx, %rsp
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
	/* RSP is at vector, error: they become rcx, flags. */
	movq	$0, 8(%rsp)
	movq	%rcx, (%rsp)
	pushq	%r11
	pushq	%rax
	movl	$PTEST_IRET, %eax
	syscall
	ud2

/* ---- user mode ---- */

/*
 * u64 kit_user_enter(function, stack, rflags, u64 *saved_stack, const u64 arguments[4]):
 * calls a C function in user mode. kit_user_leave makes this function return.
 */
FUNCTION kit_user_enter
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rcx)
	pushq	$PENUMBRA_SEL_GUEST_SS
	pushq	%rsi
	pushq	%rdx
	pushq	$PENUMBRA_SEL_GUEST_CS
	pushq	%rdi
	pushq	$0
	pushq	24(%r8)
	pushq	$0
	pushq	$0
	movq	(%r8), %rdi
	movq	8(%r8), %rsi
	movq	16(%r8), %rdx
	movl	$PTEST_IRET, %eax
	syscall
	ud2

/* void kit_user_leave(value, saved_stack) */
FUNCTION kit_user_leave
	movq	%rsi, %rsp
	movq	%rdi, %rax
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

/* Where a function that was called in user mode returns to. */
FUNCTION kit_user_exit
	movq	%rax, %rdi
	movl	$KIT_SYSCALL_EXIT, %eax
	syscall
	ud2

	.section .bss.kit_stacks, "aw", @nobits
	.balign	KIT_STACK_STRIDE
	.globl	kit_stacks
kit_stacks:
	.skip	KIT_MAX_CPUS * KIT_STACK_STRIDE
