/* SPDX-License-Identifier: Apache-2.0 */
/* A VM with one vCPU whose guest is a few instructions: for the stress programs. */
#ifndef TINY_VM_H
#define TINY_VM_H

/* Guest-physical layout; linear addresses are the same. */
#define TINY_FRAMES 64
#define TINY_CODE 0x1000
#define TINY_INFO 0x2000
#define TINY_STACK_TOP 0x4000
#define TINY_TABLES 0x4000 /* four of them, the root first */

#define TINY_EXIT_STATUS 7
#define TINY_PORT_IN 8
#define TINY_PORT_OUT 9

#ifndef __ASSEMBLER__
#include <penumbra/device.h>
#include <penumbra/exit.h>

struct tiny_guest {
	const void *start, *end;
};
#define TINY_GUEST(name)                                \
	({                                              \
		extern const char name[], name##_end[]; \
		(struct tiny_guest){ name, name##_end };\
	})

struct tiny_vm {
	int vm, vcpu, memory;
	struct penumbra_run *run;
};

/* These end the program with a message when something fails that must not. */
int open_device(void);
int sealed_memory(unsigned long bytes);
struct penumbra_create_vm tiny_configuration(void);
struct penumbra_create_vcpu tiny_registers(void);
int tiny_region(const struct tiny_vm *tiny);
struct penumbra_run *map_run_page(int vcpu);
struct tiny_vm tiny_vm_create(int device, struct tiny_guest guest);
void tiny_vm_close(struct tiny_vm *tiny);
/* RUN until the guest or the VM's end gives the vCPU back: signals, and work that the kernel
 * does on the way to user mode, do not end it. */
int tiny_vm_run(const struct tiny_vm *tiny);
void fail(const char *what) __attribute__((noreturn));

/* What the module holds over all VMs. */
struct penumbra_info module_info(int device);
#endif
#endif
