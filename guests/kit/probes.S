/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instructions that may trap (probes.h), each in a C function. While one runs, R15 holds
 * KIT_PROBE_MAGIC, R14 the way out and R13 the struct kit_trap to fill: the trap handler
 * needs nothing else, neither the vCPU nor the mode.
 */
#include "layout.h"

	.macro PROBE name, before, instruction, after
	.section .text.kit_probe_\name, "ax"
	.globl	kit_probe_\name
	.type	kit_probe_\name, @function
kit_probe_\name:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rdi, %r13
	leaq	8f(%rip), %r14
	leaq	9f(%rip), %rax
	movq	%rax, KIT_TRAP_EXPECTED(%r13)
	movq	%rsp, %r12
	movq	%rsi, %rax
	movabsq	$KIT_PROBE_MAGIC, %r15
	\before
9:	\instruction
	\after
8:	movq	%r12, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret
	.endm

#define KIT_PROBE(name, before, instruction, after) PROBE name, before, instruction, after
#include "probes.h"
