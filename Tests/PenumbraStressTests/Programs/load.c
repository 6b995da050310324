// SPDX-License-Identifier: Apache-2.0
/*
 * A process that runs spinning guests and, in other threads, makes the host interrupt the
 * CPUs they spin on:
 *
 *   load SECONDS VMS
 *
 * Two threads, each on a CPU of its own, map, protect and unmap pages: TLB shootdowns go to
 * every other CPU that runs a thread of this process, those in guests included. Two more wake each
 * other through pipes, each on a CPU of its own: reschedule interrupts. Prints what was done.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tiny_vm.h"

#define MAX_VMS 8
#define CHURN_BYTES (16ul * PENUMBRA_PAGE_SIZE)

static atomic_int stopping;
static atomic_ulong churned, pings;

static void *run(void *argument)
{
	const struct tiny_vm *tiny = argument;

	if (tiny_vm_run(tiny))
		fail("RUN");
	return NULL;
}

static void touch(volatile char *memory)
{
	unsigned long offset;

	for (offset = 0; offset < CHURN_BYTES; offset += PENUMBRA_PAGE_SIZE)
		memory[offset]++;
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
}

static void *churn(void *argument)
{
	stay_on(*(const int *)argument);
	while (!atomic_load(&stopping)) {
		char *memory = mmap(NULL, CHURN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			fail("mmap");
		touch(memory);
		if (mprotect(memory, CHURN_BYTES, PROT_READ) ||
		    mprotect(memory, CHURN_BYTES, PROT_READ | PROT_WRITE))
			fail("mprotect");
		touch(memory);
		if (munmap(memory, CHURN_BYTES))
			fail("munmap");
		atomic_fetch_add(&churned, 1);
	}
	return NULL;
}

struct pinger {
	int cpu, from, to;
};

/* Ends when the other side of the pipe does. */
static void *ping(void *argument)
{
	const struct pinger *self = argument;
	char byte = 0;

	stay_on(self->cpu);
	while (!atomic_load(&stopping) && read(self->from, &byte, 1) == 1) {
		usleep(200);
		if (write(self->to, &byte, 1) != 1)
			fail("write to a pipe");
		atomic_fetch_add(&pings, 1);
	}
	close(self->to);
	return NULL;
}

static void start(pthread_t *thread, void *(*body)(void *), void *argument)
{
	if (pthread_create(thread, NULL, body, argument))
		fail("pthread_create");
}

static void start_pingers(pthread_t threads[2], struct pinger pingers[2])
{
	int there[2], back[2];

	if (pipe(there) || pipe(back))
		fail("pipe");
	pingers[0] = (struct pinger){ .cpu = 0, .from = back[0], .to = there[1] };
	pingers[1] = (struct pinger){ .cpu = 1, .from = there[0], .to = back[1] };
	start(&threads[0], ping, &pingers[0]);
	start(&threads[1], ping, &pingers[1]);
	if (write(back[1], "", 1) != 1)
		fail("the first ping");
}

/* Each guest spun until it was ended, and by nothing else; returns how often it was interrupted. */
static unsigned long end(struct tiny_vm *tiny, pthread_t runner)
{
	struct penumbra_counters counters;

	if (ioctl(tiny->vm, PENUMBRA_KILL, 0))
		fail("KILL");
	pthread_join(runner, NULL);
	if (tiny->run->exit_reason != PENUMBRA_EXIT_DEAD || tiny->run->crash_reason != PENUMBRA_CRASH_KILLED) {
		printf("FAIL: a guest ended by itself: exit %u, crash %llu\n", tiny->run->exit_reason,
		       (unsigned long long)tiny->run->crash_reason);
		exit(1);
	}
	if (ioctl(tiny->vm, PENUMBRA_GET_COUNTERS, &counters))
		fail("GET_COUNTERS");
	tiny_vm_close(tiny);
	return counters.counter[PENUMBRA_COUNTER_exit_interrupt];
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 2 ? atoi(argv[1]) : 0;
	int count = argc > 2 ? atoi(argv[2]) : 0;
	struct tiny_vm vms[MAX_VMS];
	pthread_t runners[MAX_VMS], churners[2], pinging[2];
	struct pinger pingers[2];
	int cpus[2] = { 0, 1 };
	unsigned long interrupted = 0;
	int device, i;

	if (!seconds || count < 1 || count > MAX_VMS) {
		fprintf(stderr, "usage: load SECONDS VMS (1 to %d)\n", MAX_VMS);
		return 2;
	}
	device = open_device();
	for (i = 0; i < count; i++) {
		vms[i] = tiny_vm_create(device, TINY_GUEST(tiny_spin));
		start(&runners[i], run, &vms[i]);
	}
	start_pingers(pinging, pingers);
	for (i = 0; i < 2; i++)
		start(&churners[i], churn, &cpus[i]);
	sleep(seconds);
	atomic_store(&stopping, 1);
	for (i = 0; i < 2; i++)
		pthread_join(churners[i], NULL);
	for (i = 0; i < count; i++)
		interrupted += end(&vms[i], runners[i]);
	for (i = 0; i < 2; i++)
		pthread_join(pinging[i], NULL);
	printf("churned %lu pings %lu interrupted %lu\nPASS\n", churned, pings, interrupted);
	return 0;
}
