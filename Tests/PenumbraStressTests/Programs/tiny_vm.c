// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tiny_vm.h"
#include <penumbra/vm.h>

#define ENTRY_FLAGS 7 /* present, writable, user: Intel SDM vol. 3, 4.5 */

void fail(const char *what)
{
	fprintf(stderr, "%s failed: %s\n", what, strerror(errno));
	exit(1);
}

static int must(int result, const char *what)
{
	if (result < 0)
		fail(what);
	return result;
}

int open_device(void)
{
	return must(open("/dev/penumbra", O_RDWR | O_CLOEXEC), "open /dev/penumbra");
}

struct penumbra_info module_info(int device)
{
	struct penumbra_info info;

	must(ioctl(device, PENUMBRA_GET_INFO, &info), "GET_INFO");
	return info;
}

int sealed_memory(unsigned long bytes)
{
	int fd = must(memfd_create("tiny", MFD_ALLOW_SEALING | MFD_CLOEXEC), "memfd_create");

	must(ftruncate(fd, bytes), "ftruncate");
	must(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), "F_ADD_SEALS");
	return fd;
}

struct penumbra_create_vm tiny_configuration(void)
{
	return (struct penumbra_create_vm){
		.version = PENUMBRA_INTERFACE_VERSION,
		.personality = PENUMBRA_PERSONALITY_TEST,
		.ram_frames = TINY_FRAMES,
		.pool_limit = 64,
	};
}

struct penumbra_create_vcpu tiny_registers(void)
{
	return (struct penumbra_create_vcpu){
		.rip = TINY_CODE,
		.rsp = TINY_STACK_TOP,
		.root_frame = TINY_TABLES / PENUMBRA_PAGE_SIZE,
		.info_address = TINY_INFO,
	};
}

int tiny_region(const struct tiny_vm *tiny)
{
	struct penumbra_region region = { .fd = tiny->memory, .frame_count = TINY_FRAMES };

	return ioctl(tiny->vm, PENUMBRA_ADD_REGION, &region);
}

struct penumbra_run *map_run_page(int vcpu)
{
	void *page = mmap(NULL, PENUMBRA_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

	if (page == MAP_FAILED)
		fail("mmap of the run page");
	return page;
}

static void store(int memory, unsigned long address, const void *bytes, unsigned long count)
{
	if (pwrite(memory, bytes, count, address) != (ssize_t)count)
		fail("write to guest memory");
}

/* All frames one to one, through one table of each level. */
static void make_tables(int memory)
{
	penumbra_u64 entry;
	int level, frame;

	for (level = 0; level < 3; level++) {
		unsigned long table = TINY_TABLES + level * PENUMBRA_PAGE_SIZE;

		entry = (table + PENUMBRA_PAGE_SIZE) | ENTRY_FLAGS;
		store(memory, table, &entry, sizeof(entry));
	}
	for (frame = 0; frame < TINY_FRAMES; frame++) {
		entry = (penumbra_u64)frame * PENUMBRA_PAGE_SIZE | ENTRY_FLAGS;
		store(memory, TINY_TABLES + 3 * PENUMBRA_PAGE_SIZE + frame * sizeof(entry), &entry, sizeof(entry));
	}
}

struct tiny_vm tiny_vm_create(int device, struct tiny_guest guest)
{
	struct penumbra_create_vm configuration = tiny_configuration();
	struct penumbra_create_vcpu registers = tiny_registers();
	struct tiny_vm tiny = { .memory = sealed_memory(TINY_FRAMES * PENUMBRA_PAGE_SIZE) };

	store(tiny.memory, TINY_CODE, guest.start, (const char *)guest.end - (const char *)guest.start);
	make_tables(tiny.memory);
	tiny.vm = must(ioctl(device, PENUMBRA_CREATE_VM, &configuration), "CREATE_VM");
	must(tiny_region(&tiny), "ADD_REGION");
	tiny.vcpu = must(ioctl(tiny.vm, PENUMBRA_CREATE_VCPU, &registers), "CREATE_VCPU");
	tiny.run = map_run_page(tiny.vcpu);
	return tiny;
}

int tiny_vm_run(const struct tiny_vm *tiny)
{
	int result;

	do
		result = ioctl(tiny->vcpu, PENUMBRA_RUN, 0);
	while (result < 0 && errno == EINTR);
	return result;
}

void tiny_vm_close(struct tiny_vm *tiny)
{
	munmap(tiny->run, PENUMBRA_PAGE_SIZE);
	close(tiny->vcpu);
	close(tiny->vm);
	close(tiny->memory);
}
