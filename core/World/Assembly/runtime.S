/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the compiler may call: the three memory functions, and the retpoline thunks. */
	.section .text.runtime, "ax"

	.macro FUNCTION name
	.balign 16
	.globl	\name
	.type	\name, @function
\name:
	.endm

	FUNCTION memset
	movq	%rdi, %r8
	movl	%esi, %eax
	movq	%rdx, %rcx
	rep stosb
	movq	%r8, %rax
	ret
	.size	memset, . - memset

	FUNCTION memcpy
	movq	%rdi, %rax
	movq	%rdx, %rcx
	rep movsb
	ret
	.size	memcpy, . - memcpy

	FUNCTION memmove
	movq	%rdi, %rax
	movq	%rdi, %r8
	subq	%rsi, %r8
	cmpq	%rdx, %r8
	jb	1f
	movq	%rdx, %rcx
	rep movsb
	ret
1:	movq	%rdx, %rcx		/* the target starts inside the source: from the end down */
	leaq	-1(%rdi, %rdx), %rdi
	leaq	-1(%rsi, %rdx), %rsi
	std
	rep movsb
	cld
	ret
	.size	memmove, . - memmove

	/* Speculation past the call runs into the pause loop; the return goes to the target. */
	.macro THUNK register
	FUNCTION __llvm_retpoline_\register
	FUNCTION __x86_indirect_thunk_\register
	call	2f
1:	pause
	lfence
	jmp	1b
	.balign 16
2:	movq	%\register, (%rsp)
	ret
	.size	__x86_indirect_thunk_\register, . - __x86_indirect_thunk_\register
	.endm

	.irp	register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	THUNK	\register
	.endr
