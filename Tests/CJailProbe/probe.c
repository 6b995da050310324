// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CJailProbe.h"

#include <errno.h>
#include <unistd.h>

long probe_system_call(long number, const uint64_t arguments[6])
{
	long result = syscall(
		number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);

	return result == -1 ? -errno : result;
}

long probe_i386_call(long number)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number) : "memory", "r8", "r9", "r10", "r11");
	return result;
}
