/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The ioctl numbers of device.h as constants: Swift does not import macros that call macros. */
#ifndef PENUMBRA_IOCTL_NUMBERS_H
#define PENUMBRA_IOCTL_NUMBERS_H

#include "device.h"

#ifndef __ASSEMBLER__
#if __STDC_HOSTED__ /* the core makes no system calls */
enum penumbra_ioctl {
	PENUMBRA_IOCTL_GET_INFO = PENUMBRA_GET_INFO,
	PENUMBRA_IOCTL_CREATE_VM = PENUMBRA_CREATE_VM,
	PENUMBRA_IOCTL_ADD_REGION = PENUMBRA_ADD_REGION,
	PENUMBRA_IOCTL_CREATE_VCPU = PENUMBRA_CREATE_VCPU,
	PENUMBRA_IOCTL_SET_EVENTFD = PENUMBRA_SET_EVENTFD,
	PENUMBRA_IOCTL_POST = PENUMBRA_POST,
	PENUMBRA_IOCTL_GET_COUNTERS = PENUMBRA_GET_COUNTERS,
	PENUMBRA_IOCTL_KILL = PENUMBRA_KILL,
	PENUMBRA_IOCTL_RUN = PENUMBRA_RUN,
};

/* The name of a counter (counters.h), or a null pointer for an index without one. */
static inline const char *penumbra_counter_name(unsigned int index)
{
	switch (index) {
#define PENUMBRA_COUNTER_CASE(number, name) \
	case number:                        \
		return #name;
		PENUMBRA_COUNTERS(PENUMBRA_COUNTER_CASE)
#undef PENUMBRA_COUNTER_CASE
	default:
		return 0;
	}
}
#endif
#endif
#endif
