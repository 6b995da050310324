/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operation of the Linux interface costs a process. Runs as any process, or as the first
 * one of a machine whose initramfs holds nothing else; then it powers the machine off at the end.
 *
 *   bench                       every operation: `bench NAME TICKS`, the least of several rounds
 *   bench OPERATION COUNT       that operation so many times, nothing printed: for counters
 *   bench idle                  nothing, for ever: to look at what a machine holds
 *
 * Ticks are the TSC's, which under QEMU's `-icount shift=0` counts instructions. What the loop
 * around an operation takes is part of the figure; it is a handful of instructions.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE 4096l
/* The program of nothing.c, for exec. */
#define NOTHING "/nothing"

static void fail(const char *what)
{
	printf("bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void require(int holds, const char *what)
{
	if (!holds)
		fail(what);
}

static char *map(long bytes, int protection, int flags, int file)
{
	char *address = mmap(NULL, bytes, protection, flags, file, 0);

	require(address != MAP_FAILED, "mmap");
	return address;
}

static char *map_anonymous(long bytes)
{
	return map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void unmap(char *address, long bytes)
{
	require(munmap(address, bytes) == 0, "munmap");
}

/* Without the C library's wrapper, of which nothing belongs to the operation. */
static inline long system_call(long number, long first, const void *second, long third)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "memory");
	return result;
}

static int open_file(const char *path, int flags)
{
	int file = open(path, flags, 0600);

	require(file >= 0, path);
	return file;
}

static void wait_for(pid_t child)
{
	int status;

	require(waitpid(child, &status, 0) == child && status == 0, "a child process");
}

/* ---- what is measured: each runs `count` times and returns the ticks that took ---- */

static uint64_t compute(long count)
{
	uint64_t start = __rdtsc();

	while (count--) {
		uint64_t value = 1, rounds = 1000;

		__asm__ volatile("1: add %1, %0\n\txor %1, %0\n\tdec %1\n\tjnz 1b" : "+r"(value), "+r"(rounds));
	}
	return __rdtsc() - start;
}

static uint64_t getpid_call(long count)
{
	uint64_t start = __rdtsc();

	while (count--)
		system_call(SYS_getpid, 0, NULL, 0);
	return __rdtsc() - start;
}

static uint64_t read_zero(long count)
{
	int file = open_file("/dev/zero", O_RDONLY);
	uint64_t start = __rdtsc();
	char byte;

	while (count--)
		require(system_call(SYS_read, file, &byte, 1) == 1, "read /dev/zero");
	start = __rdtsc() - start;
	close(file);
	return start;
}

static uint64_t write_null(long count)
{
	int file = open_file("/dev/null", O_WRONLY);
	uint64_t start = __rdtsc();

	while (count--)
		require(system_call(SYS_write, file, "x", 1) == 1, "write /dev/null");
	start = __rdtsc() - start;
	close(file);
	return start;
}

static uint64_t clock_gettime_call(long count)
{
	struct timespec now;
	uint64_t start = __rdtsc();

	while (count--)
		system_call(SYS_clock_gettime, CLOCK_MONOTONIC, &now, 0);
	return __rdtsc() - start;
}

static uint64_t gettimeofday_vdso(long count)
{
	struct timeval now;
	uint64_t start = __rdtsc();

	while (count--)
		gettimeofday(&now, NULL);
	return __rdtsc() - start;
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	require(sigaction(number, &action, NULL) == 0, "sigaction");
}

static void ignore_signal(int number, siginfo_t *information, void *context)
{
	(void)number, (void)information, (void)context;
}

static uint64_t install_handler(long count)
{
	struct sigaction action = { .sa_sigaction = ignore_signal, .sa_flags = SA_SIGINFO };
	uint64_t start = __rdtsc();

	while (count--)
		sigaction(SIGUSR1, &action, NULL);
	return __rdtsc() - start;
}

static uint64_t deliver_signal(long count)
{
	pid_t me = getpid();
	uint64_t start;

	handle(SIGUSR1, ignore_signal);
	start = __rdtsc();
	while (count--)
		kill(me, SIGUSR1);
	return __rdtsc() - start;
}

static volatile long faults_left;
static char *faulting_page;

static void allow_page(int number, siginfo_t *information, void *context)
{
	(void)number, (void)information, (void)context;
	mprotect(faulting_page, PAGE, PROT_READ | PROT_WRITE);
}

/* Returns into the same fault until there were enough. */
static void fault_again(int number, siginfo_t *information, void *context)
{
	if (--faults_left == 0)
		allow_page(number, information, context);
}

static uint64_t protection_fault(long count)
{
	uint64_t start;

	faulting_page = map_anonymous(PAGE);
	*faulting_page = 1;
	require(mprotect(faulting_page, PAGE, PROT_READ) == 0, "mprotect");
	handle(SIGSEGV, fault_again);
	faults_left = count;
	start = __rdtsc();
	*(volatile char *)faulting_page = 2;
	start = __rdtsc() - start;
	signal(SIGSEGV, SIG_DFL);
	unmap(faulting_page, PAGE);
	return start;
}

/* The first page of a mapping, so that each change splits the area or merges it. */
static uint64_t mprotect_fault(long count)
{
	uint64_t start;

	faulting_page = map_anonymous(16 * PAGE);
	*faulting_page = 1;
	handle(SIGSEGV, allow_page);
	start = __rdtsc();
	while (count--) {
		mprotect(faulting_page, PAGE, PROT_READ);
		*(volatile char *)faulting_page = 2;
	}
	start = __rdtsc() - start;
	signal(SIGSEGV, SIG_DFL);
	unmap(faulting_page, 16 * PAGE);
	return start;
}

/* Pages are measured by whole areas: mapped, touched and unmapped. */
#define AREA_PAGES 256l
#define AREA (AREA_PAGES * PAGE)

static char *map_area(int protection, int flags, int file)
{
	char *area = map(AREA, protection, flags, file);

	/* One page a fault, whatever the kernel's setting. */
	madvise(area, AREA, MADV_NOHUGEPAGE);
	return area;
}

static void read_pages(char *area, long pages)
{
	for (long page = 0; page < pages; page++)
		(void)((volatile char *)area)[page * PAGE];
}

static void write_pages(char *area, long pages)
{
	for (long page = 0; page < pages; page++)
		((volatile char *)area)[page * PAGE] = 1;
}

static long least(long a, long b)
{
	return a < b ? a : b;
}

static uint64_t anonymous_page(long count)
{
	uint64_t start = __rdtsc();

	for (; count > 0; count -= AREA_PAGES) {
		char *area = map_area(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

		write_pages(area, least(count, AREA_PAGES));
		unmap(area, AREA);
	}
	return __rdtsc() - start;
}

static int page_file(void)
{
	static int file = -1;
	char bytes[PAGE];

	if (file >= 0)
		return file;
	file = open_file("/bench-pages", O_RDWR | O_CREAT | O_TRUNC);
	unlink("/bench-pages");
	memset(bytes, 1, PAGE);
	for (long page = 0; page < AREA_PAGES; page++)
		require(write(file, bytes, PAGE) == PAGE, "write of the file to map");
	return file;
}

static uint64_t file_page(long count)
{
	int file = page_file();
	uint64_t start = __rdtsc();

	for (; count > 0; count -= AREA_PAGES) {
		char *area = map_area(PROT_READ, MAP_SHARED, file);

		read_pages(area, least(count, AREA_PAGES));
		unmap(area, AREA);
	}
	return __rdtsc() - start;
}

static char *map_private_file(void)
{
	return map_area(PROT_READ | PROT_WRITE, MAP_PRIVATE, page_file());
}

/* First stores to a private mapping of a file: each is a fault that copies a page. */
static uint64_t cow_page(long count)
{
	uint64_t start = __rdtsc();

	for (; count > 0; count -= AREA_PAGES) {
		char *area = map_private_file();

		write_pages(area, least(count, AREA_PAGES));
		unmap(area, AREA);
	}
	return __rdtsc() - start;
}

/*
 * The same of pages that are mapped for reading, so that an entry has to be replaced in
 * memory and TLB, as after a fork. Only the stores count.
 */
static uint64_t cow_mapped_page(long count)
{
	uint64_t sum = 0;

	for (; count > 0; count -= AREA_PAGES) {
		char *area = map_private_file();
		uint64_t start;

		read_pages(area, least(count, AREA_PAGES));
		start = __rdtsc();
		write_pages(area, least(count, AREA_PAGES));
		sum += __rdtsc() - start;
		unmap(area, AREA);
	}
	return sum;
}

static uint64_t map_unmap(long count)
{
	uint64_t start = __rdtsc();

	while (count--)
		unmap(map_anonymous(1 << 20), 1 << 20);
	return __rdtsc() - start;
}

static void pass_bytes_on(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1)
		if (write(to, &byte, 1) != 1)
			break;
	_exit(0);
}

static uint64_t pipe_round_trip(long count)
{
	int there[2], back[2];
	uint64_t start;
	pid_t child;
	char byte = 'x';

	require(pipe(there) == 0 && pipe(back) == 0, "pipe");
	child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		close(there[1]);
		close(back[0]);
		pass_bytes_on(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	start = __rdtsc();
	while (count--)
		require(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "pipe");
	start = __rdtsc() - start;
	close(there[1]);
	close(back[0]);
	waitpid(child, NULL, 0);
	return start;
}

static void *no_work(void *argument)
{
	return argument;
}

static uint64_t thread_create_join(long count)
{
	uint64_t start = __rdtsc();
	pthread_t thread;

	while (count--) {
		require(pthread_create(&thread, NULL, no_work, NULL) == 0, "pthread_create");
		pthread_join(thread, NULL);
	}
	return __rdtsc() - start;
}

/* What a process of about a mebibyte has for fork to copy. */
#define PROCESS_PAGES 240l

static uint64_t by_forks(long count, void (*child_work)(void))
{
	char *data = map_anonymous(PROCESS_PAGES * PAGE);
	uint64_t start;

	write_pages(data, PROCESS_PAGES);
	start = __rdtsc();
	while (count--) {
		pid_t child = fork();

		require(child >= 0, "fork");
		if (child == 0) {
			child_work();
			_exit(1);
		}
		wait_for(child);
	}
	start = __rdtsc() - start;
	unmap(data, PROCESS_PAGES * PAGE);
	return start;
}

static void leave(void)
{
	_exit(0);
}

static void execute(void)
{
	execl(NOTHING, NOTHING, (char *)NULL);
}

static uint64_t fork_exit_wait(long count)
{
	return by_forks(count, leave);
}

static uint64_t fork_exec_wait(long count)
{
	return by_forks(count, execute);
}

/* ---- which of them, how often ---- */

static const struct operation {
	const char *name;
	uint64_t (*run)(long count);
	/* In a round: some million ticks, so that a timer's interrupt is no large part of it. */
	long count;
} operations[] = {
	{ "compute", compute, 500 },
	{ "getpid", getpid_call, 5000 },
	{ "read-zero", read_zero, 4000 },
	{ "write-null", write_null, 4000 },
	{ "clock_gettime", clock_gettime_call, 4000 },
	{ "gettimeofday", gettimeofday_vdso, 10000 },
	{ "sigaction", install_handler, 4000 },
	{ "signal", deliver_signal, 500 },
	{ "protection-fault", protection_fault, 500 },
	{ "mprotect-fault", mprotect_fault, 100 },
	{ "anonymous-page", anonymous_page, 1024 },
	{ "file-page", file_page, 1024 },
	{ "cow-page", cow_page, 512 },
	{ "cow-mapped-page", cow_mapped_page, 512 },
	{ "mmap-munmap", map_unmap, 100 },
	{ "pipe", pipe_round_trip, 200 },
	{ "thread", thread_create_join, 50 },
	{ "fork", fork_exit_wait, 10 },
	{ "fork-exec", fork_exec_wait, 10 },
};

enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]), ROUNDS = 12 };

static void measure(const struct operation *operation)
{
	uint64_t best = UINT64_MAX;

	/* The first round is the caches'. */
	for (int round = 0; round <= ROUNDS; round++) {
		uint64_t ticks = operation->run(operation->count);

		if (round > 0 && ticks < best)
			best = ticks;
	}
	printf("bench %s %.1f\n", operation->name, (double)best / operation->count);
}

static int repeat(const char *name, long count)
{
	for (int index = 0; index < OPERATIONS; index++) {
		if (strcmp(operations[index].name, name) != 0)
			continue;
		operations[index].run(count);
		return 0;
	}
	printf("bench: no operation is called %s\n", name);
	return 1;
}

static int run(int count, char **arguments)
{
	if (count == 2 && strcmp(arguments[1], "idle") == 0)
		pause();
	if (count == 3)
		return repeat(arguments[1], atol(arguments[2]));
	for (int index = 0; index < OPERATIONS; index++)
		measure(&operations[index]);
	return 0;
}

static void announce(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("bench: in user space after %ld.%03ld s\n", (long)now.tv_sec, now.tv_nsec / 1000000);
}

static int first_process(int count, char **arguments)
{
	int status;

	announce();
	require(mkdir("/dev", 0755) == 0 || errno == EEXIST, "making /dev");
	require(mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) == 0 || errno == EBUSY, "mounting /dev");
	status = run(count, arguments);
	printf("bench: ended with %d\n", status);
	reboot(RB_POWER_OFF);
	return status;
}

int main(int count, char **arguments)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	return getpid() == 1 ? first_process(count, arguments) : run(count, arguments);
}
