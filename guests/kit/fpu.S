/* SPDX-License-Identifier: Apache-2.0 */
/*
 * void kit_fpu_hold(const void *in, void *out, u64 spins, u64 avx, u64 number)
 *
 * Fills the x87 stack, MXCSR, the x87 control word and all vector registers from `in`,
 * spins, with a `syscall` number `number` every 65,536 spins, and stores them all to `out`.
 * Layout of both: layout.h, KIT_FPU_*. Spins in either mode: in the guest kernel `number` is a
 * hypercall, in user mode a system call.
 */
#include "layout.h"

	.macro EACH_VECTOR instruction, register, direction, base
	.set	offset, 0
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	.ifc \direction, load
	\instruction	offset(\base), %\register\n
	.else
	\instruction	%\register\n, offset(\base)
	.endif
	.set	offset, offset + 32
	.endr
	.endm

	.section .text.kit_fpu_hold, "ax"
	.globl	kit_fpu_hold
	.type	kit_fpu_hold, @function
kit_fpu_hold:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	movq	%rdi, %rbx
	movq	%rsi, %rbp
	movq	%rcx, %r12
	movq	%r8, %r13
	movq	%rdx, %r9

	fninit
	fldcw	KIT_FPU_CONTROL(%rbx)
	.irp	n, 7, 6, 5, 4, 3, 2, 1, 0
	fldl	KIT_FPU_X87 + 8 * \n(%rbx)
	.endr
	ldmxcsr	KIT_FPU_MXCSR(%rbx)
	testq	%r12, %r12
	jz	1f
	EACH_VECTOR vmovups, ymm, load, %rbx
	jmp	2f
1:	EACH_VECTOR movups, xmm, load, %rbx

2:	testw	%r9w, %r9w
	jnz	3f
	movq	%r13, %rax
	xorl	%edi, %edi
	syscall
3:	decq	%r9
	jnz	2b

	testq	%r12, %r12
	jz	4f
	EACH_VECTOR vmovups, ymm, store, %rbp
	vzeroupper
	jmp	5f
4:	EACH_VECTOR movups, xmm, store, %rbp
5:	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	fstpl	KIT_FPU_X87 + 8 * \n(%rbp)
	.endr
	stmxcsr	KIT_FPU_MXCSR(%rbp)
	fnstcw	KIT_FPU_CONTROL(%rbp)
	fninit
	pushq	$0x1f80
	ldmxcsr	(%rsp)
	popq	%rcx
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret
