/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CJAILPROBE_H
#define CJAILPROBE_H

#include <stdint.h>
#include <sys/syscall.h>

/* syscall(2): what the kernel says, a negative number for an error. */
long probe_system_call(long number, const uint64_t arguments[6]);
/* The same by int 0x80, the i386 entry of an x86-64 kernel. */
long probe_i386_call(long number);

#endif
