/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module's half of the world switch: host CR3 -> bridge -> the core's entry text in
 * slot 261 (core/World/Assembly/entry.S), and the same way back.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>
#include <asm/ibt.h>
#include <penumbra_offsets.h>
#include "compat.h"

	.section .text, "ax"

/* void penumbra_switch(page, page_address, bridge_cr3, world_enter); interrupts off */
SYM_FUNC_START(penumbra_switch)
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	%rdi
	movq	%cr4, %rax
	movq	%rax, VCPU_HOST_CR4(%rdi)
	movq	%cr3, %rax
	orq	penumbra_cr3_noflush(%rip), %rax
	movq	%rax, VCPU_HOST_CR3(%rdi)
	leaq	.Lback(%rip), %rax
	movq	%rax, VCPU_RETURN_RIP(%rdi)
	movq	%rsp, VCPU_HOST_RSP(%rdi)
	movq	%rdx, %cr3
	CALL_NOSPEC rcx
.Lback:
	ENDBR
	popq	%rdi
	movq	VCPU_HOST_CR3(%rdi), %rax
	movq	%rax, %cr3
	/* What the host does itself on the way from a guest; the core has refilled the return stack. */
	COMPAT_UNTRAIN_RETURNS
	COMPAT_CLEAR_BRANCH_HISTORY
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	RET
SYM_FUNC_END(penumbra_switch)

/*
 * void penumbra_call_handler(handler): run a gate of the host's IDT as the CPU would have,
 * with interrupts off: an interrupt frame, then a call; the handler's iret comes back here.
 */
SYM_FUNC_START(penumbra_call_handler)
	pushq	%rbp
	movq	%rsp, %rbp
	andq	$-16, %rsp
	pushq	$__KERNEL_DS
	pushq	%rbp
	pushfq
	pushq	$__KERNEL_CS
	CALL_NOSPEC rdi
	leave
	RET
SYM_FUNC_END(penumbra_call_handler)
