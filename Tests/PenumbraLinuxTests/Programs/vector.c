/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector SECONDS: processes and threads, more than there are CPUs, each keep values of their own in all
 * AVX registers, on the x87 stack and in both control words, while they are preempted, yield
 * and take signals whose handler uses the same registers. The first difference ends the program.
 */
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include "check.h"

#define PROCESSES 4
#define THREADS 2
#define REGISTERS 16
#define LANES 4

struct vectors {
	uint64_t lane[REGISTERS][LANES];
} __attribute__((aligned(32)));

static volatile sig_atomic_t signals_taken;
static time_t end;

/* One asm statement, so that the compiler has no register to itself in between. */
#define LOAD(n) "vmovdqa " #n "*32(%[in]), %%ymm" #n "\n\t"
#define STORE(n) "vmovdqa %%ymm" #n ", " #n "*32(%[out])\n\t"
#define ALL(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)

__attribute__((target("avx"))) static void keep_vectors(const struct vectors *in, struct vectors *out, uint64_t rounds)
{
	__asm__ volatile(ALL(LOAD) "1: pause\n\tdec %[rounds]\n\tjnz 1b\n\t" ALL(STORE) "vzeroupper"
			 : [rounds] "+r"(rounds)
			 : [in] "r"(in), [out] "r"(out)
			 : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
			   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* The same across a system call: `number` takes no arguments that matter. */
__attribute__((target("avx"))) static void keep_across_call(const struct vectors *in, struct vectors *out, long number)
{
	__asm__ volatile(ALL(LOAD) "syscall\n\t" ALL(STORE) "vzeroupper"
			 : "+a"(number)
			 : [in] "b"(in), [out] "r"(out)
			 : "memory", "rcx", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static void compare(const struct vectors *expected, const struct vectors *found, const char *when)
{
	for (int number = 0; number < REGISTERS; number++)
		for (int lane = 0; lane < LANES; lane++)
			if (expected->lane[number][lane] != found->lane[number][lane])
				fail("%s: ymm%d lane %d holds %#lx instead of %#lx", when, number, lane,
				     found->lane[number][lane], expected->lane[number][lane]);
}

static void check_vectors(uint64_t *state)
{
	struct vectors in, out;

	for (int number = 0; number < REGISTERS; number++)
		for (int lane = 0; lane < LANES; lane++)
			in.lane[number][lane] = random_from(state);
	keep_vectors(&in, &out, 20000);
	compare(&in, &out, "in a loop");
	keep_across_call(&in, &out, 24 /* sched_yield */);
	compare(&in, &out, "across sched_yield");
}

/* Eight values on the stack, for as long as a loop takes. */
static void check_x87(uint64_t *state)
{
	double in[8], out[8];

	for (int number = 0; number < 8; number++)
		in[number] = (double)(int64_t)random_from(state);
	__asm__ volatile("fldl 0(%0)\n\tfldl 8(%0)\n\tfldl 16(%0)\n\tfldl 24(%0)\n\t"
			 "fldl 32(%0)\n\tfldl 40(%0)\n\tfldl 48(%0)\n\tfldl 56(%0)\n\t"
			 "mov $20000, %%ecx\n1: pause\n\tdec %%ecx\n\tjnz 1b\n\t"
			 "fstpl 56(%1)\n\tfstpl 48(%1)\n\tfstpl 40(%1)\n\tfstpl 32(%1)\n\t"
			 "fstpl 24(%1)\n\tfstpl 16(%1)\n\tfstpl 8(%1)\n\tfstpl 0(%1)"
			 :
			 : "r"(in), "r"(out)
			 : "ecx", "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	for (int number = 0; number < 8; number++)
		if (in[number] != out[number])
			fail("x87: value %d is %g instead of %g", number, out[number], in[number]);
}

/* Rounding is part of the state: each worker has a mode of its own. */
static void set_rounding(int mode)
{
	uint16_t control = 0x037f | (uint16_t)(mode << 10);

	_mm_setcsr(0x1f80 | (unsigned int)mode << 13);
	__asm__ volatile("fldcw %0" : : "m"(control));
}

static void check_rounding(int mode)
{
	uint16_t control;

	__asm__ volatile("fnstcw %0" : "=m"(control));
	if ((control >> 10 & 3) != mode || (int)(_mm_getcsr() >> 13 & 3) != mode)
		fail("control words %#x and %#x, of rounding mode %d", control, _mm_getcsr(), mode);
}

__attribute__((target("avx"))) static void on_alarm(int number)
{
	struct vectors clobber;

	memset(&clobber, number, sizeof(clobber));
	set_rounding(3);
	keep_vectors(&clobber, &clobber, 1);
	signals_taken++;
}

static void *work(void *seed)
{
	uint64_t state = (uint64_t)seed * 0x9e3779b97f4a7c15;
	int mode = (int)((uint64_t)seed % 3);

	set_rounding(mode);
	do {
		check_vectors(&state);
		check_x87(&state);
		check_rounding(mode);
	} while (time(NULL) < end);
	return NULL;
}

static void run_process(long number)
{
	struct itimerval every = { { 0, 3000 }, { 0, 3000 } };
	pthread_t threads[THREADS];

	signal(SIGALRM, on_alarm);
	MUST(setitimer(ITIMER_REAL, &every, NULL));
	for (long thread = 0; thread < THREADS; thread++)
		HOLDS(pthread_create(&threads[thread], NULL, work, (void *)(number * THREADS + thread + 1)) == 0);
	for (int thread = 0; thread < THREADS; thread++)
		HOLDS(pthread_join(threads[thread], NULL) == 0);
	HOLDS(signals_taken > 0);
}

int main(int count, char **arguments)
{
	pid_t children[PROCESSES];

	if (!__builtin_cpu_supports("avx"))
		fail("the processor shows no AVX");
	end = time(NULL) + (count == 2 ? atol(arguments[1]) : 5);
	for (long number = 0; number < PROCESSES; number++) {
		children[number] = MUST(fork());
		if (children[number] == 0) {
			run_process(number);
			exit(0);
		}
	}
	for (int number = 0; number < PROCESSES; number++)
		wait_for(children[number]);
	printf("%d workers\n", PROCESSES * THREADS);
	return 0;
}
