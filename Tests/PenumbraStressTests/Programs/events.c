// SPDX-License-Identifier: Apache-2.0
/*
 * eventfds to and from a guest: a halted guest wakes for each signal of one and answers by
 * the other; POST does the same; and VMs end while others keep signalling their eventfds.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tiny_vm.h"

#define PATIENCE_MS 10000

struct echo {
	struct tiny_vm tiny;
	int to_guest, from_guest;
	pthread_t runner;
};

static void attach(const struct tiny_vm *tiny, unsigned int port, int fd, unsigned int flags)
{
	struct penumbra_eventfd event = { .port = port, .fd = fd, .flags = flags };

	if (ioctl(tiny->vm, PENUMBRA_SET_EVENTFD, &event))
		fail("SET_EVENTFD");
}

static void *run(void *argument)
{
	struct echo *echo = argument;

	if (tiny_vm_run(&echo->tiny))
		fail("RUN");
	return NULL;
}

static void wait_for_answer(const struct echo *echo, const char *what)
{
	struct pollfd poller = { .fd = echo->from_guest, .events = POLLIN };
	eventfd_t count;

	if (poll(&poller, 1, PATIENCE_MS) != 1 || eventfd_read(echo->from_guest, &count)) {
		fprintf(stderr, "no answer: %s\n", what);
		exit(1);
	}
}

static void start(struct echo *echo, int device)
{
	echo->tiny = tiny_vm_create(device, TINY_GUEST(tiny_echo));
	echo->to_guest = eventfd(0, EFD_CLOEXEC);
	echo->from_guest = eventfd(0, EFD_CLOEXEC);
	attach(&echo->tiny, TINY_PORT_IN, echo->to_guest, PENUMBRA_EVENTFD_TO_GUEST);
	attach(&echo->tiny, TINY_PORT_OUT, echo->from_guest, PENUMBRA_EVENTFD_FROM_GUEST);
	if (pthread_create(&echo->runner, NULL, run, echo))
		fail("pthread_create");
	wait_for_answer(echo, "the guest's start");
}

static void end(struct echo *echo)
{
	if (ioctl(echo->tiny.vm, PENUMBRA_KILL, 0))
		fail("KILL");
	pthread_join(echo->runner, NULL);
	if (echo->tiny.run->exit_reason != PENUMBRA_EXIT_DEAD) {
		fprintf(stderr, "the guest ended by itself: exit %u, crash %llu\n", echo->tiny.run->exit_reason,
			(unsigned long long)echo->tiny.run->crash_reason);
		exit(1);
	}
	tiny_vm_close(&echo->tiny);
}

static void answers(int device, long rounds)
{
	struct penumbra_counters counters;
	struct echo echo;
	long i;

	start(&echo, device);
	for (i = 0; i < rounds; i++) {
		eventfd_write(echo.to_guest, 1);
		wait_for_answer(&echo, "to an eventfd");
		if (ioctl(echo.tiny.vm, PENUMBRA_POST, TINY_PORT_IN))
			fail("POST");
		wait_for_answer(&echo, "to a post");
	}
	if (ioctl(echo.tiny.vm, PENUMBRA_GET_COUNTERS, &counters))
		fail("GET_COUNTERS");
	printf("answers %ld halts %llu notifications %llu\n", 2 * rounds,
	       (unsigned long long)counters.counter[PENUMBRA_COUNTER_exit_halt],
	       (unsigned long long)counters.counter[PENUMBRA_COUNTER_exit_notify]);
	end(&echo);
	close(echo.to_guest);
	close(echo.from_guest);
}

/* A removed eventfd reaches nobody; one that was signalled before it was attached does. */
static void removal(int device)
{
	struct echo echo;
	struct penumbra_eventfd event = { .port = TINY_PORT_IN, .flags = PENUMBRA_EVENTFD_REMOVE };
	struct pollfd poller;

	start(&echo, device);
	if (ioctl(echo.tiny.vm, PENUMBRA_SET_EVENTFD, &event))
		fail("removal of an eventfd");
	eventfd_write(echo.to_guest, 1);
	poller = (struct pollfd){ .fd = echo.from_guest, .events = POLLIN };
	if (poll(&poller, 1, 200) != 0) {
		fprintf(stderr, "a removed eventfd reached the guest\n");
		exit(1);
	}
	attach(&echo.tiny, TINY_PORT_IN, echo.to_guest, PENUMBRA_EVENTFD_TO_GUEST);
	wait_for_answer(&echo, "to a signal before the eventfd was attached");
	end(&echo);
	close(echo.to_guest);
	close(echo.from_guest);
}

static atomic_int victim = -1;

static void *signal_all_the_time(void *argument)
{
	(void)argument;
	for (;;) {
		int fd = atomic_load(&victim);

		if (fd == -2)
			return NULL;
		if (fd >= 0)
			eventfd_write(fd, 1);
	}
}

/* The eventfd outlives the VM and is signalled all through its end. */
static void ends_under_signals(int device, long rounds)
{
	pthread_t thread;
	long i;

	if (pthread_create(&thread, NULL, signal_all_the_time, NULL))
		fail("pthread_create");
	for (i = 0; i < rounds; i++) {
		struct echo echo;
		int old = atomic_load(&victim);

		start(&echo, device);
		atomic_store(&victim, echo.to_guest);
		if (old >= 0)
			close(old);
		wait_for_answer(&echo, "under a flood of signals");
		end(&echo);
		close(echo.from_guest);
	}
	atomic_store(&victim, -2);
	pthread_join(thread, NULL);
	printf("ends %ld\n", rounds);
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 100;
	int device = open_device();

	answers(device, rounds);
	removal(device);
	ends_under_signals(device, rounds);
	if (module_info(device).vms) {
		fprintf(stderr, "VMs are left\n");
		return 1;
	}
	puts("PASS");
	return 0;
}
