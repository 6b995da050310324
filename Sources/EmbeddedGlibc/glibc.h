/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the C library that penumbra-init and what it shares with the host use. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* Variadic functions and macros with arguments reach Swift under names of their own. */
static inline int embedded_open(const char *path, int flags, mode_t mode)
{
	return open(path, flags, mode);
}

static inline int embedded_fcntl(int descriptor, int command, int value)
{
	return fcntl(descriptor, command, value);
}

static inline int embedded_errno(void)
{
	return errno;
}
