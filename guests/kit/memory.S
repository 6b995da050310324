/* SPDX-License-Identifier: Apache-2.0 */
/* What a compiler may call, in every guest. */

	.macro FUNCTION name
	.section .text.\name, "ax"
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

FUNCTION memcpy
	movq	%rdi, %rax
	movq	%rdx, %rcx
	rep movsb
	ret

FUNCTION memmove
	movq	%rdi, %rax
	movq	%rdx, %rcx
	movq	%rdi, %r8
	subq	%rsi, %r8
	cmpq	%rdx, %r8	/* unsigned: the target does not begin inside the source */
	jb	1f
	rep movsb
	ret
1:	leaq	-1(%rdi,%rdx), %rdi
	leaq	-1(%rsi,%rdx), %rsi
	std
	rep movsb
	cld
	ret
