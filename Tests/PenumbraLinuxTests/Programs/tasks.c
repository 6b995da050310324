/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tasks: signals, threads, timers, and what of the processor a process sees of its own: exceptions,
 * single steps, segment bases, a local descriptor table. One function each; the first that
 * finds something wrong ends the program.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/user.h>
#include <time.h>
#include "check.h"

#define PAGE 4096

static double now(clockid_t clock)
{
	struct timespec time;

	MUST(clock_gettime(clock, &time));
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	MUST(sigaction(number, &action, NULL));
}

/* ---- exceptions ---- */

static sigjmp_buf after;
static volatile int seen_code;
static void *volatile seen_address;

static void note(int number, siginfo_t *information, void *context)
{
	(void)context;
	seen_code = information->si_code;
	seen_address = information->si_addr;
	siglongjmp(after, number);
}

/* Runs `statement`, which must raise that signal with that code. */
#define RAISES(number, code, statement)                                                            \
	do {                                                                                       \
		int raised;                                                                        \
		handle(number, note, 0);                                                           \
		raised = sigsetjmp(after, 1);                                                      \
		if (raised == 0) {                                                                 \
			statement;                                                                 \
			fail("line %d: no signal", __LINE__);                                      \
		}                                                                                  \
		if (raised != number || seen_code != (code))                                       \
			fail("line %d: signal %d with code %d", __LINE__, raised, seen_code);      \
		signal(number, SIG_DFL);                                                           \
	} while (0)

static void exceptions(void)
{
	int file = MUST(memfd_create("short", 0));
	volatile char *beyond, *read_only = MUST(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	volatile char *code = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	beyond = MUST(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0));
	RAISES(SIGFPE, FPE_INTDIV, __asm__ volatile("xor %%ecx, %%ecx\n\tdiv %%ecx" : : : "eax", "ecx", "edx"));
	RAISES(SIGILL, ILL_ILLOPN, __asm__ volatile("ud2"));
	RAISES(SIGTRAP, SI_KERNEL, __asm__ volatile("int3"));
	RAISES(SIGSEGV, SI_KERNEL, __asm__ volatile("hlt"));
	RAISES(SIGSEGV, SI_KERNEL, __asm__ volatile("mov %cr3, %rax"));
	RAISES(SIGSEGV, SI_KERNEL, __asm__ volatile("int $0x21"));
	RAISES(SIGSEGV, SI_KERNEL, *(volatile char *)0x8000000000000000 = 1);
	RAISES(SIGSEGV, SEGV_MAPERR, __asm__ volatile("movb $1, 8"));
	HOLDS(seen_address == (void *)8);
	RAISES(SIGSEGV, SEGV_ACCERR, *read_only = 1);
	HOLDS(seen_address == (void *)read_only);
	RAISES(SIGBUS, BUS_ADRERR, (void)*beyond);
	HOLDS(seen_address == (void *)beyond);
	*code = (char)0xc3;
	RAISES(SIGSEGV, SEGV_ACCERR, ((void (*)(void))code)());
	HOLDS(seen_address == (void *)code);
	/* Where a kernel is: a process may neither read it nor run it. */
	RAISES(SIGSEGV, SEGV_MAPERR, (void)*(volatile char *)0xffffffff81000000);
	RAISES(SIGSEGV, SEGV_MAPERR, (void)*(volatile char *)0xffff888000000000);
	RAISES(SIGSEGV, SEGV_MAPERR, (void)*(volatile char *)0xffff800000000000);
	close(file);
}

/* ---- signals ---- */

static volatile int order[16], ordered;

static void in_order(int number, siginfo_t *information, void *context)
{
	(void)number, (void)context;
	order[ordered++] = information->si_value.sival_int;
}

static void queued_signals(void)
{
	sigset_t set, old;

	handle(SIGRTMIN, in_order, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	MUST(sigprocmask(SIG_BLOCK, &set, &old));
	for (int value = 0; value < 16; value++)
		MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = value }));
	HOLDS(ordered == 0);
	MUST(sigprocmask(SIG_SETMASK, &old, NULL));
	HOLDS(ordered == 16);
	for (int value = 0; value < 16; value++)
		HOLDS(order[value] == value);
}

static char other_stack[64 * 1024];
static volatile int depth;

static void on_other_stack(int number, siginfo_t *information, void *context)
{
	char here;

	(void)information, (void)context;
	HOLDS(&here > other_stack && &here < other_stack + sizeof(other_stack));
	if (++depth < 4)
		raise(number);
}

static void nested_on_a_stack(void)
{
	stack_t stack = { .ss_sp = other_stack, .ss_size = sizeof(other_stack) };

	MUST(sigaltstack(&stack, NULL));
	handle(SIGUSR2, on_other_stack, SA_ONSTACK | SA_NODEFER);
	raise(SIGUSR2);
	HOLDS(depth == 4);
}

static volatile sig_atomic_t ticks;

static void tick(int number, siginfo_t *information, void *context)
{
	(void)number, (void)information, (void)context;
	ticks++;
}

static void set_timer(long microseconds)
{
	struct itimerval every = { { 0, microseconds }, { 0, microseconds } };

	MUST(setitimer(ITIMER_REAL, &every, NULL));
}

/* A loop that has a known value in every register it can, under a rain of signals. */
static void registers_survive(void)
{
	handle(SIGALRM, tick, SA_RESTART);
	ticks = 0;
	set_timer(2000);
	while (ticks < 100) {
		uint64_t wrong = 0, stack;

		__asm__ volatile("mov %%rsp, %[stack]\n\t"
				 "mov $0x1111, %%rax\n\tmov $0x2222, %%rdx\n\tmov $0x3333, %%rsi\n\tmov $0x4444, %%rdi\n\t"
				 "mov $0x5555, %%r8\n\tmov $0x6666, %%r9\n\tmov $0x7777, %%r10\n\tmov $0x8888, %%r11\n\t"
				 "mov $0x9999, %%r12\n\tmov $0xaaaa, %%r13\n\tmov $10000, %%ecx\n\tstc\n"
				 "1:\tlea -1(%%rcx), %%rcx\n\tjrcxz 2f\n\tjc 1b\n\tinc %[wrong]\n"
				 "2:\tcmp %%rsp, %[stack]\n\tjne 3f\n\t"
				 "cmp $0x1111, %%rax\n\tjne 3f\n\tcmp $0x2222, %%rdx\n\tjne 3f\n\t"
				 "cmp $0x3333, %%rsi\n\tjne 3f\n\tcmp $0x4444, %%rdi\n\tjne 3f\n\t"
				 "cmp $0x5555, %%r8\n\tjne 3f\n\tcmp $0x6666, %%r9\n\tjne 3f\n\t"
				 "cmp $0x7777, %%r10\n\tjne 3f\n\tcmp $0x8888, %%r11\n\tjne 3f\n\t"
				 "cmp $0x9999, %%r12\n\tjne 3f\n\tcmp $0xaaaa, %%r13\n\tje 4f\n"
				 "3:\tinc %[wrong]\n4:"
				 : [wrong] "+b"(wrong), [stack] "=&r"(stack)
				 :
				 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "cc");
		if (wrong)
			fail("a register or the carry flag changed under signals");
	}
	set_timer(0);
}

/* ---- threads ---- */

#define THREADS 8
#define ADDITIONS 20000

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static long guarded, atomically;
static int turn;
static __thread long own[64];

static void *count_up(void *argument)
{
	long me = (long)argument;

	for (long addition = 0; addition < ADDITIONS; addition++) {
		own[addition % 64] = me * ADDITIONS + addition;
		pthread_mutex_lock(&mutex);
		guarded++;
		pthread_mutex_unlock(&mutex);
		__atomic_add_fetch(&atomically, 1, __ATOMIC_SEQ_CST);
		if (addition % 64 == 0)
			sched_yield();
		HOLDS(own[addition % 64] == me * ADDITIONS + addition);
	}
	return (void *)(me + 1000);
}

static void *take_turns(void *argument)
{
	int me = (int)(long)argument;

	for (int round = 0; round < 200; round++) {
		pthread_mutex_lock(&mutex);
		while (turn % THREADS != me)
			pthread_cond_wait(&turn_changed, &mutex);
		HOLDS(turn / THREADS == round);
		turn++;
		pthread_cond_broadcast(&turn_changed);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void run_threads(void *(*body)(void *), int returns)
{
	pthread_t threads[THREADS];

	for (long thread = 0; thread < THREADS; thread++)
		HOLDS(pthread_create(&threads[thread], NULL, body, (void *)thread) == 0);
	for (long thread = 0; thread < THREADS; thread++) {
		void *result;

		HOLDS(pthread_join(threads[thread], &result) == 0);
		HOLDS(result == (returns ? (void *)(thread + 1000) : NULL));
	}
}

static void threads(void)
{
	run_threads(count_up, 1);
	HOLDS(guarded == THREADS * ADDITIONS && atomically == guarded);
	run_threads(take_turns, 0);
	HOLDS(turn == 200 * THREADS);
}

/* ---- time ---- */

static volatile int clocks_run = 1;

static void *watch_clock(void *clock)
{
	double last = now((clockid_t)(long)clock);

	while (clocks_run) {
		double next = now((clockid_t)(long)clock);

		if (next < last)
			fail("clock %ld went back from %.9f to %.9f", (long)clock, last, next);
		last = next;
	}
	return NULL;
}

/* A sleep must not be short; how long it may be is the load's business, within reason. */
static void took(double start, double wanted, const char *what)
{
	double elapsed = now(CLOCK_MONOTONIC) - start;

	if (elapsed < wanted || elapsed > wanted + 20)
		fail("%s of %.3f s took %.6f s", what, wanted, elapsed);
}

static void timers(void)
{
	struct itimerspec each = { { 0, 10000000 }, { 0, 10000000 } };
	struct timespec short_time = { 0, 30000000 };
	pthread_t watchers[2];
	uint64_t expirations = 0, total = 0;
	double start;
	int timer;

	HOLDS(pthread_create(&watchers[0], NULL, watch_clock, (void *)CLOCK_MONOTONIC) == 0);
	HOLDS(pthread_create(&watchers[1], NULL, watch_clock, (void *)CLOCK_BOOTTIME) == 0);
	for (int sleep = 0; sleep < 20; sleep++) {
		start = now(CLOCK_MONOTONIC);
		MUST(nanosleep(&short_time, NULL));
		took(start, 0.03, "a sleep");
	}
	timer = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
	start = now(CLOCK_MONOTONIC);
	MUST(timerfd_settime(timer, 0, &each, NULL));
	for (; total < 50; total += expirations)
		HOLDS(read(timer, &expirations, sizeof(expirations)) == sizeof(expirations));
	took(start, 0.01 * (double)total - 0.01, "a periodic timer");
	clocks_run = 0;
	for (int watcher = 0; watcher < 2; watcher++)
		HOLDS(pthread_join(watchers[watcher], NULL) == 0);
	close(timer);
}

/* A process's time is what it used, not what passed. */
static void processor_time(void)
{
	struct timespec while_asleep = { 0, 200000000 };
	double used = now(CLOCK_PROCESS_CPUTIME_ID), start = now(CLOCK_MONOTONIC);

	MUST(nanosleep(&while_asleep, NULL));
	HOLDS(now(CLOCK_PROCESS_CPUTIME_ID) - used < 0.1);
	used = now(CLOCK_PROCESS_CPUTIME_ID);
	start = now(CLOCK_MONOTONIC);
	while (now(CLOCK_PROCESS_CPUTIME_ID) - used < 0.2)
		if (now(CLOCK_MONOTONIC) - start > 20)
			fail("a busy process is not charged");
	HOLDS(now(CLOCK_MONOTONIC) - start > 0.19);
}

/* ---- the processor ---- */

static void segment_bases(void)
{
	unsigned long value = 0x1122334455667788, base, read_back;

	MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, &value));
	for (int round = 0; round < 200; round++) {
		if (round % 10 == 0) {
			pid_t child = MUST(fork());

			if (child == 0) {
				MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, &read_back));
				_exit(0);
			}
			wait_for(child);
		}
		sched_yield();
		__asm__ volatile("mov %%gs:0, %0" : "=r"(read_back));
		HOLDS(read_back == value);
		MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &base));
		HOLDS(base == (unsigned long)&value);
	}
	MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
}

/* A data segment of its own, at an address below 4 GiB, by way of the local descriptor table. */
static void local_descriptor(void)
{
	uint32_t *low = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
	struct user_desc descriptor = { .entry_number = 3, .base_addr = (unsigned int)(uintptr_t)low, .limit = PAGE - 1,
					.seg_32bit = 1, .useable = 1 };
	uint32_t value;

	low[5] = 0xabcdef01;
	MUST(syscall(SYS_modify_ldt, 1, &descriptor, sizeof(descriptor)));
	for (int round = 0; round < 20; round++) {
		__asm__ volatile("mov %1, %%gs\n\tmov %%gs:20, %0" : "=r"(value) : "r"(3 << 3 | 7));
		HOLDS(value == 0xabcdef01);
		sched_yield();
		__asm__ volatile("mov %%gs:20, %0" : "=r"(value));
		HOLDS(value == 0xabcdef01);
	}
	__asm__ volatile("mov %0, %%gs" : : "r"(0));
}

/* System calls by the old gate, which 64-bit programs may use as well. */
static void interrupt_calls(void)
{
	for (int round = 0; round < 200; round++) {
		long result;

		__asm__ volatile("int $0x80" : "=a"(result) : "a"(20 /* getpid */) : "memory", "r8", "r9", "r10", "r11");
		HOLDS(result == getpid());
	}
}

/* A tracer steps its child through a known number of instructions. */
static void single_steps(void)
{
	pid_t child = MUST(fork());
	struct user_regs_struct registers;
	unsigned long first;
	int status;

	if (child == 0) {
		MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
		raise(SIGSTOP);
		__asm__ volatile("int3\n\tnop\n\tnop\n\tnop\n\tnop\n\tint3");
		_exit(0);
	}
	MUST(waitpid(child, &status, 0));
	HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
	MUST(waitpid(child, &status, 0));
	HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	MUST(ptrace(PTRACE_GETREGS, child, NULL, &registers));
	first = registers.rip;
	for (unsigned long number = 1; number <= 4; number++) {
		MUST(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL));
		MUST(waitpid(child, &status, 0));
		HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
		MUST(ptrace(PTRACE_GETREGS, child, NULL, &registers));
		HOLDS(registers.rip == first + number);
	}
	MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
	MUST(waitpid(child, &status, 0));
	HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
	wait_for(child);
}

/* A hardware watchpoint, by way of the debug registers. */
static volatile long watched;

static void watchpoint(void)
{
	pid_t child = MUST(fork());
	int status;

	if (child == 0) {
		MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
		raise(SIGSTOP);
		watched = 7;
		_exit(0);
	}
	MUST(waitpid(child, &status, 0));
	MUST(ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), (void *)&watched));
	/* Register 0, on stores of eight bytes. */
	MUST(ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]), (void *)0x90001ul));
	MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
	MUST(waitpid(child, &status, 0));
	HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	HOLDS(ptrace(PTRACE_PEEKDATA, child, (void *)&watched, NULL) == 7);
	MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
	wait_for(child);
}

static const struct {
	const char *name;
	void (*run)(void);
} parts[] = {
	{ "exceptions", exceptions },
	{ "queued signals", queued_signals },
	{ "nested signals on a stack of their own", nested_on_a_stack },
	{ "registers under signals", registers_survive },
	{ "threads", threads },
	{ "timers", timers },
	{ "processor time", processor_time },
	{ "segment bases", segment_bases },
	{ "local descriptor table", local_descriptor },
	{ "int 0x80", interrupt_calls },
	{ "single steps", single_steps },
	{ "watchpoint", watchpoint },
};

int main(int count, char **arguments)
{
	for (unsigned int index = 0; index < sizeof(parts) / sizeof(parts[0]); index++) {
		if (count == 2 && strcmp(arguments[1], parts[index].name) != 0)
			continue;
		fprintf(stderr, "%s\n", parts[index].name);
		parts[index].run();
	}
	return 0;
}
