/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every instruction that a guest may want to see trap:
 *
 *     KIT_PROBE(name, before, instruction, after)
 *
 * becomes kit_probe_<name>(trap, a, b, c), with a in RAX, b in RDX, c in RCX, result in
 * RAX, RBX free (its 8f label is the way out). Included by kit.h for the declarations and
 * by probes.S for the code.
 */

/* memory */
KIT_PROBE(load, "", "movq (%rax), %rax", "")
KIT_PROBE(store, "", "movq %rdx, (%rax)", "")
KIT_PROBE(exchange, "", "xchgq %rdx, (%rax)", "movq %rdx, %rax")
KIT_PROBE(stack_load, "", "movq (%rsp,%rax), %rax", "")
KIT_PROBE(push, "movq %rsp, %rbx; movq %rax, %rsp", "pushq %rdx", "movq %rbx, %rsp")
KIT_PROBE(jump, "leaq 8f(%rip), %rbx", "jmpq *%rax", "") /* the target does jmpq *%rbx */
KIT_PROBE(load_far, "", "movabsq 0xffff828000000000, %rax", "")

/* exceptions */
KIT_PROBE(nop, "", "nop", "")
KIT_PROBE(divide, "", "divq %rcx", "")
KIT_PROBE(breakpoint, "", "int3", "")
KIT_PROBE(int3, "", ".byte 0xcd, 3", "")
KIT_PROBE(int4, "", "int $4", "")
KIT_PROBE(int2, "", "int $2", "")
KIT_PROBE(int14, "", "int $14", "")
KIT_PROBE(int0x80, "", "int $0x80", "")
KIT_PROBE(int0x81, "", "int $0x81", "")
KIT_PROBE(ud2, "", "ud2", "")
KIT_PROBE(single_step, "pushfq; orq $0x100, (%rsp); popfq", "nop", "")
KIT_PROBE(misaligned, "pushfq; orq $0x40000, (%rsp); popfq", "movq 1(%rsp), %rbx", "pushfq; andq $~0x40000, (%rsp); popfq")
KIT_PROBE(x87_error, "fninit; pushq $0x37b; fldcw (%rsp); popq %rbx; fld1; fldz; fdivrp", "fwait", "")
KIT_PROBE(x87_reset, "", "fninit", "")
KIT_PROBE(sse_error, "pushq $0x1d80; ldmxcsr (%rsp); popq %rbx; xorps %xmm1, %xmm1; pcmpeqd %xmm0, %xmm0; psrld $25, %xmm0; pslld $23, %xmm0", "divss %xmm1, %xmm0", "")
KIT_PROBE(sse_reset, "pushq $0x1f80", "ldmxcsr (%rsp)", "popq %rbx")

/* what an operating system does in ring 0 */
KIT_PROBE(cli, "", "cli", "")
KIT_PROBE(sti, "", "sti", "")
KIT_PROBE(hlt, "", "hlt", "")
KIT_PROBE(inb, "", "inb %dx, %al", "")
KIT_PROBE(inw, "", "inw %dx, %ax", "")
KIT_PROBE(inl, "", "inl %dx, %eax", "")
KIT_PROBE(inb_fixed, "", "inb $0x42, %al", "")
KIT_PROBE(outb, "", "outb %al, %dx", "")
KIT_PROBE(outl, "", "outl %eax, %dx", "")
KIT_PROBE(insb, "movq %rax, %rdi", "insb", "")
KIT_PROBE(outsb, "movq %rax, %rsi", "outsb", "")
KIT_PROBE(rdmsr, "", "rdmsr", "shlq $32, %rdx; orq %rdx, %rax")
KIT_PROBE(wrmsr, "", "wrmsr", "")
KIT_PROBE(lgdt, "", "lgdt (%rax)", "")
KIT_PROBE(lidt, "", "lidt (%rax)", "")
KIT_PROBE(lldt, "", "lldt %ax", "")
KIT_PROBE(ltr, "", "ltr %ax", "")
KIT_PROBE(lmsw, "", "lmsw %ax", "")
KIT_PROBE(clts, "", "clts", "")
KIT_PROBE(invlpg, "", "invlpg (%rax)", "")
KIT_PROBE(invpcid, "", "invpcid (%rax), %rdx", "")
KIT_PROBE(invd, "", "invd", "")
KIT_PROBE(wbinvd, "", "wbinvd", "")
KIT_PROBE(swapgs, "", "swapgs", "")
KIT_PROBE(sgdt, "subq $16, %rsp", "sgdt (%rsp)", "")
KIT_PROBE(sidt, "subq $16, %rsp", "sidt (%rsp)", "")
KIT_PROBE(sldt, "", "sldt %eax", "")
KIT_PROBE(str, "", "str %eax", "")
KIT_PROBE(smsw, "", "smsw %eax", "")
KIT_PROBE(rdpmc, "", "rdpmc", "")
KIT_PROBE(read_cr0, "", "movq %cr0, %rax", "")
KIT_PROBE(read_cr2, "", "movq %cr2, %rax", "")
KIT_PROBE(read_cr3, "", "movq %cr3, %rax", "")
KIT_PROBE(read_cr4, "", "movq %cr4, %rax", "")
KIT_PROBE(read_cr8, "", "movq %cr8, %rax", "")
KIT_PROBE(write_cr0, "", "movq %rax, %cr0", "")
KIT_PROBE(write_cr3, "", "movq %rax, %cr3", "")
KIT_PROBE(write_cr4, "", "movq %rax, %cr4", "")
KIT_PROBE(read_dr7, "", "movq %dr7, %rax", "")
KIT_PROBE(write_dr7, "", "movq %rax, %dr7", "")
KIT_PROBE(sysret, "leaq 8f(%rip), %rcx; movl $0x202, %r11d", "sysretq", "")
KIT_PROBE(sysexit, "leaq 8f(%rip), %rdx; movq %rsp, %rcx", "sysexitq", "")
KIT_PROBE(sysenter, "", "sysenter", "")
KIT_PROBE(iret_ring0, "movq %rsp, %rbx; pushq $0x18; pushq %rbx; pushq $2; pushq $0x10; leaq 8f(%rip), %rcx; pushq %rcx", "iretq", "")
/* the iret hypercall with the frame at a; R13 to R15 stay, so the fault of the new context is this probe's */
KIT_PROBE(iret_frame, "movq %rsp, 0x38(%rax); movq %rax, %rsp; movl $23, %eax", "syscall", "")
KIT_PROBE(monitor, "xorl %ecx, %ecx; xorl %edx, %edx", "monitor", "")
KIT_PROBE(vmcall, "", "vmcall", "")
KIT_PROBE(vmmcall, "", "vmmcall", "")
KIT_PROBE(rsm, "", "rsm", "")

/* extended state: c = register */
KIT_PROBE(xgetbv, "", "xgetbv", "shlq $32, %rdx; orq %rdx, %rax")
KIT_PROBE(xsetbv, "", "xsetbv", "")
KIT_PROBE(avx, "", "vxorps %ymm0, %ymm0, %ymm0", "")

/* segments */
KIT_PROBE(write_ds, "", "movw %ax, %ds", "")
KIT_PROBE(write_es, "", "movw %ax, %es", "")
KIT_PROBE(write_fs, "", "movw %ax, %fs", "")
KIT_PROBE(write_gs, "", "movw %ax, %gs", "")
KIT_PROBE(write_ss, "", "movw %ax, %ss", "")
KIT_PROBE(read_ds, "", "movl %ds, %eax", "")
KIT_PROBE(access_rights, "", "larl %eax, %eax", "jz 7f; xorl %eax, %eax; 7:")
KIT_PROBE(write_fs_base, "", "wrfsbase %rax", "")
KIT_PROBE(read_fs_base, "", "rdfsbase %rax", "")
KIT_PROBE(write_gs_base, "", "wrgsbase %rax", "")
KIT_PROBE(read_gs_base, "", "rdgsbase %rax", "")
/* SS loaded from a watched address, then at once a hypercall: the #DB must not reach the core. */
KIT_PROBE(movss_syscall, "movq %rax, %rcx; movq %rdx, %rax; movl $41, %edi", "movw (%rcx), %ss; syscall", "")
