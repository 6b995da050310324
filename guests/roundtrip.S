/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User half of roundtrip: u64 roundtrip_user(number, count, rcx, r11) makes `count` system
 * calls and answers 0, or the number of the first check that failed: 1 general registers,
 * 2 RCX, 3 R11, 4 RFLAGS, 5 RSP.
 */
#define SAME 2
#define OTHER_REGISTERS 3
#define OTHER_FLAGS 4
#define FLAGS 0x240400 /* ID, AC, DF */

	.text
	.globl	roundtrip_user_address
roundtrip_user_address:
	leaq	roundtrip_user(%rip), %rax
	ret

roundtrip_user:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	/* 0: number, 8: count, 16: rcx, 24: r11, 32: RSP */
	subq	$40, %rsp
	movq	%rdi, (%rsp)
	movq	%rsi, 8(%rsp)
	movq	%rdx, 16(%rsp)
	movq	%rcx, 24(%rsp)
	movq	%rsp, 32(%rsp)
again:
	.set	value, 0x1111
	.irp	register, rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15
	movq	$value, %\register
	.set	value, value + 0x1111
	.endr
	movq	(%rsp), %rax
	syscall
	pushfq
	cld
	.set	value, 0x1111
	.irp	register, rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15
	cmpq	$value, %\register
	movl	$1, %eax
	jne	failed
	.set	value, value + 0x1111
	.endr
	popq	%rbx
	cmpq	%rsp, 32(%rsp)
	movl	$5, %eax
	jne	done
	cmpq	$OTHER_REGISTERS, (%rsp)
	jne	1f
	cmpq	%rcx, 16(%rsp)
	movl	$2, %eax
	jne	done
	cmpq	%r11, 24(%rsp)
	movl	$3, %eax
	jne	done
1:	movl	%ebx, %edx
	andl	$FLAGS, %edx
	xorl	%ecx, %ecx
	cmpq	$OTHER_FLAGS, (%rsp)
	jne	2f
	movl	$FLAGS, %ecx
2:	cmpl	%ecx, %edx
	movl	$4, %eax
	jne	done
	pushq	$2
	popfq
	decq	8(%rsp)
	jnz	again
	xorl	%eax, %eax
	jmp	done
failed:
	popq	%rbx
done:	pushq	$2
	popfq
	addq	$40, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret
