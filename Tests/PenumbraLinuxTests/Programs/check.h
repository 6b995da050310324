/* SPDX-License-Identifier: Apache-2.0 */
/* What the test programs share: the first thing that is wrong ends a program with a line that says what. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "wrong: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	exit(1);
}

/* A call that must succeed. */
#define MUST(call)                                                                 \
	({                                                                         \
		__auto_type must_result = (call);                                  \
		if ((long)must_result == -1)                                       \
			fail("line %d: %s: %s", __LINE__, #call, strerror(errno)); \
		must_result;                                                       \
	})

/* A condition that must hold. */
#define HOLDS(condition)                                                   \
	do {                                                               \
		if (!(condition))                                          \
			fail("line %d: not so: %s", __LINE__, #condition); \
	} while (0)

/* A child must end with status 0. */
static inline void wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			fail("waitpid: %s", strerror(errno));
	if (status != 0)
		fail("child %d ended with wait status %#x", child, status);
}

/* xorshift64: the same numbers on every run with the same seed. */
static inline uint64_t random_from(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
