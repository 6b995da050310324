// SPDX-License-Identifier: Apache-2.0
/*
 * A floating-point process:   float ROUNDS SEED
 *
 * Prints a sum over x87, SSE and (where the CPU has it) AVX arithmetic that depends on every
 * step, and holds a pattern in all vector registers between steps. The same ROUNDS and SEED
 * give the same line on every run that nobody disturbs.
 */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGISTERS 16
#define STEPS 2000

struct pattern {
	unsigned char bytes[REGISTERS][32];
};

/* Loads all YMM registers, lets time pass, and stores what they hold then. */
__attribute__((target("avx"))) static void hold(const struct pattern *in, struct pattern *out, long spins)
{
#define LOAD(n) "vmovdqu " #n "*32(%1), %%ymm" #n "\n\t"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%2)\n\t"
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
	__asm__ volatile(ALL(LOAD) "1: dec %0\n\tjnz 1b\n\t" ALL(STORE) "vzeroupper"
			 : "+r"(spins)
			 : "r"(in), "r"(out)
			 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
			   "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static int held(unsigned int round)
{
	struct pattern in, out;
	unsigned int i;

	for (i = 0; i < sizeof(in); i++)
		((unsigned char *)&in)[i] = (unsigned char)(round * 31 + i * 7 + 1);
	hold(&in, &out, 20000);
	return memcmp(&in, &out, sizeof(in)) == 0;
}

/* Chaotic maps: one wrong bit anywhere changes all that follows. */
static long double x87(long double x)
{
	int i;

	for (i = 0; i < STEPS; i++)
		x = 3.99L * x * (1.0L - x);
	return x;
}

static double sse(double x)
{
	int i;

	for (i = 0; i < STEPS; i++)
		x = 3.97 * x * (1.0 - x);
	return x;
}

__attribute__((target("avx"))) static double avx(double seed)
{
	__m256d x = _mm256_set_pd(seed, seed / 2, seed / 3, seed / 5);
	double lanes[4];
	int i;

	for (i = 0; i < STEPS; i++)
		x = _mm256_mul_pd(_mm256_mul_pd(_mm256_set1_pd(3.95), x), _mm256_sub_pd(_mm256_set1_pd(1.0), x));
	_mm256_storeu_pd(lanes, x);
	return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

int main(int argc, char **argv)
{
	long rounds = argc > 2 ? atol(argv[1]) : 0;
	double seed = argc > 2 ? atof(argv[2]) : 0;
	int has_avx = __builtin_cpu_supports("avx");
	long double a = seed, sum = 0;
	double b = seed, c = seed;
	long round;

	if (rounds < 1 || seed <= 0 || seed >= 1) {
		fprintf(stderr, "usage: float ROUNDS SEED (between 0 and 1)\n");
		return 2;
	}
	for (round = 0; round < rounds; round++) {
		a = x87(a);
		b = sse(b);
		c = has_avx ? avx(c) / 4 : 0;
		sum += a + b + c;
		if (has_avx && !held(round)) {
			printf("FAIL: a vector register changed in round %ld\n", round);
			return 1;
		}
	}
	printf("rounds %ld avx %d sum %.17Lg %La %a %a\n", rounds, has_avx, sum, a, b, c);
	return 0;
}
