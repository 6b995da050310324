/* SPDX-License-Identifier: Apache-2.0 */
/* Guests of a few instructions for the stress programs; tiny_vm.c copies them into a VM. */
#include "tiny_vm.h"
#include <penumbra/test_abi.h>

	.macro GUEST name
	.globl	\name, \name\()_end
\name:
	.endm
	.macro HYPERCALL number, first=0, second=0
	movl	$\number, %eax
	movl	$\first, %edi
	movl	$\second, %esi
	syscall
	.endm

	.section .rodata

/* Never leaves by itself. */
GUEST tiny_spin
1:	pause
	jmp	1b
tiny_spin_end:

/* Keeps the core busy. */
GUEST tiny_storm
1:	HYPERCALL PTEST_NOOP
	jmp	1b
tiny_storm_end:

/* Powers off at once. */
GUEST tiny_exit
	HYPERCALL PTEST_EXIT, TINY_EXIT_STATUS
	ud2
tiny_exit_end:

/* Notifies TINY_PORT_OUT once when it is ready, then once for each event on TINY_PORT_IN. */
GUEST tiny_echo
	movl	$PTEST_SET_CALLBACK, %eax
	movl	$PTEST_CALLBACK_EVENT, %edi
	leaq	2f(%rip), %rsi
	syscall
	HYPERCALL PTEST_BIND, TINY_PORT_IN, 0
	HYPERCALL PTEST_SEND, TINY_PORT_OUT
1:	HYPERCALL PTEST_HALT
	jmp	1b
	/* The event callback goes back to halting instead of returning: its frame is dropped. */
2:	movl	$TINY_STACK_TOP, %esp
	movb	$0, TINY_INFO + PTEST_INFO_PENDING
	xorl	%eax, %eax
	xchgq	%rax, TINY_INFO + PTEST_INFO_PORTS
	HYPERCALL PTEST_SEND, TINY_PORT_OUT
	jmp	1b
tiny_echo_end:

	.section .note.GNU-stack, "", @progbits
