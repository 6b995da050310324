// SPDX-License-Identifier: Apache-2.0
/*
 * Runs an endless guest and prints the physical address of a page of its memory, where a
 * machine check can then find an error:
 *
 *   bad_memory spin     runs guest code; dies of SIGBUS, as any process whose memory is bad
 *   bad_memory storm    keeps the core busy; catches SIGBUS and prints what became of the VM
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tiny_vm.h"

/* Documentation/admin-guide/mm/pagemap.rst: bits 54:0 of an entry are the frame's number. */
#define FRAME_NUMBER ((1ull << 55) - 1)

static uint64_t physical_address(const volatile void *page)
{
	uint64_t entry = 0;
	off_t offset = (uintptr_t)page / PENUMBRA_PAGE_SIZE * sizeof(entry);
	int pagemap = open("/proc/self/pagemap", O_RDONLY);

	if (pread(pagemap, &entry, sizeof(entry), offset) != sizeof(entry) || !(entry & FRAME_NUMBER))
		fail("a look at pagemap");
	close(pagemap);
	return (entry & FRAME_NUMBER) * PENUMBRA_PAGE_SIZE;
}

static volatile sig_atomic_t bus_errors;

static void on_bus_error(int signal)
{
	(void)signal;
	bus_errors++;
}

int main(int argc, char **argv)
{
	int storm = argc > 1 && !strcmp(argv[1], "storm");
	struct sigaction action = { .sa_handler = on_bus_error };
	struct tiny_vm tiny =
		tiny_vm_create(open_device(), storm ? TINY_GUEST(tiny_storm) : TINY_GUEST(tiny_spin));
	volatile char *memory = mmap(NULL, TINY_FRAMES * PENUMBRA_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
				     tiny.memory, 0);

	if (memory == MAP_FAILED)
		fail("mmap of guest memory");
	if (storm && sigaction(SIGBUS, &action, NULL))
		fail("sigaction");
	memory[TINY_CODE] = memory[TINY_CODE];
	printf("address 0x%llx\n", (unsigned long long)physical_address(memory + TINY_CODE));
	fflush(stdout);
	if (tiny_vm_run(&tiny))
		fail("RUN");
	printf("exit %u crash %llu bus-errors %d\n", tiny.run->exit_reason,
	       (unsigned long long)tiny.run->crash_reason, (int)bus_errors);
	return 0;
}
