/* SPDX-License-Identifier: Apache-2.0 */
/*
 * u64 exceptions_registers(void): fills the registers, executes ud2, which the handler must
 * skip, and answers 0 if all of them came back, RCX, R11 and RFLAGS included.
 */
	.text
	.globl	exceptions_registers_address
exceptions_registers_address:
	leaq	exceptions_registers(%rip), %rax
	ret
	.globl	exceptions_trap
exceptions_registers:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	$0x2004d7 /* ID, DF, SF, ZF, AF, PF, CF */
	popfq
	.set	value, 0x1111
	.irp	register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	movq	$value, %\register
	.set	value, value + 0x1111
	.endr
exceptions_trap:
	ud2
	pushfq
	.set	value, 0x1111
	.irp	register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	cmpq	$value, %\register
	jne	1f
	.set	value, value + 0x1111
	.endr
	popq	%rcx
	pushq	%rcx
	andl	$0x240cd5, %ecx
	cmpl	$0x2004d5, %ecx
	jne	1f
	xorl	%eax, %eax
	jmp	2f
1:	movl	$1, %eax
2:	popq	%rcx
	cld
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret
