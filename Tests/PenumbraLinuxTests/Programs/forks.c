/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forks COUNT: fork, exec and wait so many times. Every child gets another number of arguments
 * and must end with that status; before it execs it writes to a page, which its parent
 * must not see.
 */
#include "check.h"

int main(int count, char **arguments)
{
	static char *words[] = { "nothing", "1", "2", "3", "4", "5", "6", "7", NULL };
	static volatile long shared[1024];
	long forks = count == 2 ? atol(arguments[1]) : 5000;

	for (long fork_number = 0; fork_number < forks; fork_number++) {
		int extra = (int)(fork_number % 8), status;
		pid_t child;

		shared[fork_number % 1024] = fork_number;
		child = MUST(fork());
		if (child == 0) {
			shared[fork_number % 1024] = -1;
			/* The last words, of which there are one more than arguments. */
			execv("/nothing", words + 7 - extra);
			_exit(100);
		}
		MUST(waitpid(child, &status, 0));
		if (!WIFEXITED(status) || WEXITSTATUS(status) != extra)
			fail("child %ld ended with wait status %#x, not with exit status %d", fork_number, status, extra);
		if (shared[fork_number % 1024] != fork_number)
			fail("child %ld wrote into its parent's page", fork_number);
	}
	printf("%ld times\n", forks);
	return 0;
}
