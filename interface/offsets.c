/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Offsets for the assembler, taken from the structs themselves: compiled to assembly,
 * and each "->NAME value" line becomes a #define in penumbra_offsets.h.
 */
#include "penumbra/vcpu.h"

#define DEFINE(name, value) __asm__ volatile(".ascii \"->" #name " %c0\"" : : "i"(value))
#define VCPU(name, field) DEFINE(VCPU_##name, __builtin_offsetof(struct penumbra_vcpu, field))
#define COUNTER(name) \
	DEFINE(VCPU_COUNTER_##name, __builtin_offsetof(struct penumbra_vcpu, counter) + \
				    8 * PENUMBRA_COUNTER_##name)

void penumbra_offsets(void);
void penumbra_offsets(void)
{
	VCPU(FRAME_R15, frame.r15);
	VCPU(FRAME_R14, frame.r14);
	VCPU(FRAME_R13, frame.r13);
	VCPU(FRAME_R12, frame.r12);
	VCPU(FRAME_RBP, frame.rbp);
	VCPU(FRAME_RBX, frame.rbx);
	VCPU(FRAME_RAX, frame.rax);
	VCPU(FRAME_RCX, frame.rcx);
	VCPU(FRAME_RDX, frame.rdx);
	VCPU(FRAME_R11, frame.r11);
	VCPU(FRAME_VECTOR, frame.vector);
	VCPU(FRAME_ERROR, frame.error);
	VCPU(FRAME_RIP, frame.rip);
	VCPU(FRAME_CS, frame.cs);
	VCPU(FRAME_RFLAGS, frame.rflags);
	VCPU(FRAME_RSP, frame.rsp);
	VCPU(FRAME_SS, frame.ss);
	DEFINE(VCPU_FRAME_END, sizeof(struct penumbra_frame));
	VCPU(SELF, self);
	VCPU(ATTENTION, attention);
	VCPU(SCRATCH_RSP, scratch_rsp);
	VCPU(SCRATCH_RAX, scratch_rax);
	VCPU(SCRATCH_RDX, scratch_rdx);
	VCPU(SCRATCH_RCX, scratch_rcx);
	VCPU(GUEST_MODE, guest_mode);
	VCPU(FAST, fast);
	VCPU(CR3_KERNEL, cr3_kernel);
	VCPU(CR3_USER, cr3_user);
	VCPU(CR3_CORE, cr3_core);
	VCPU(STACK_TOP, stack_top);
	VCPU(KERNEL_FRAME, kernel_frame);
	VCPU(SYSCALL_HANDLER, syscall_handler);
	VCPU(GS_BASE_INACTIVE, gs_base_inactive);
	VCPU(UPCALL, upcall);
	VCPU(FS_BASE, fs_base);
	VCPU(GS_BASE, gs_base);
	VCPU(SEL_DS, sel_ds);
	VCPU(SEL_ES, sel_es);
	VCPU(SEL_FS, sel_fs);
	VCPU(SEL_GS, sel_gs);
	VCPU(SEL_LDT, sel_ldt);
	COUNTER(core_entries);
	COUNTER(fast_syscalls);
	COUNTER(fast_irets);
	COUNTER(world_entries);
	COUNTER(nmis_in_core);
	VCPU(EXIT_REASON, exit_reason);
	VCPU(EXIT_ARG0, exit_arg[0]);
	VCPU(CRASH_REASON, crash_reason);
	VCPU(CRASH_RIP, crash_rip);
	VCPU(CRASH_CR2, crash_cr2);
	VCPU(CRASH_ERROR, crash_error);
	VCPU(CRASH_VECTOR, crash_vector);
	VCPU(STUCK, stuck);
	VCPU(DR7, dr7);
	VCPU(GUEST_CR4, guest_cr4);
	VCPU(GDTR, gdtr.limit);
	VCPU(IDTR, idtr.limit);
	VCPU(TSS_DESCRIPTOR, tss_descriptor);
	VCPU(HOST_TSS_DESCRIPTOR, host_tss_descriptor);
	VCPU(TSS_RSP0, tss.rsp0_low);
	VCPU(HOST_RSP, host_rsp);
	VCPU(HOST_CR3, host_cr3);
	VCPU(HOST_CR4, host_cr4);
	VCPU(BRIDGE_CR3, bridge_cr3);
	VCPU(HOST_FS_BASE, host_fs_base);
	VCPU(HOST_GS_BASE, host_gs_base);
	VCPU(HOST_DS, host_ds);
	VCPU(HOST_ES, host_es);
	VCPU(HOST_FS, host_fs);
	VCPU(HOST_GS, host_gs);
	VCPU(HOST_TR, host_tr);
	VCPU(HOST_LDT, host_ldt);
	VCPU(RETURN_RIP, return_rip);
	VCPU(HOST_GDTR, host_gdtr.limit);
	VCPU(HOST_IDTR, host_idtr.limit);
}
