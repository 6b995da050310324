/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * /dev/penumbra: the module's interface to VMMs. Version it, never reuse a number.
 *
 *   device fd --CREATE_VM--> VM fd --CREATE_VCPU--> vCPU fd --mmap--> run page
 *
 * A VM, and all of its file descriptors, belongs to the process (mm) that created it;
 * any other is refused with EPERM. No call takes ring-0 code: the core image is part of
 * the module. Unknown flags and non-zero reserved fields are refused with EINVAL.
 */
#ifndef PENUMBRA_DEVICE_H
#define PENUMBRA_DEVICE_H

#include "types.h"
#include "barriers.h"
#include "counters.h"

#ifndef __ASSEMBLER__
#ifdef __KERNEL__
#include <linux/ioctl.h>
#elif __STDC_HOSTED__ /* the freestanding core never makes an ioctl */
#include <sys/ioctl.h>
#endif

#define PENUMBRA_INTERFACE_VERSION 1

/* penumbra_info.features */
#define PENUMBRA_FEATURE_RESTRICTED 1 /* guest roots must carry the entry view (Meltdown) */
#define PENUMBRA_FEATURE_LA57 2
#define PENUMBRA_FEATURE_PCID 4
#define PENUMBRA_FEATURE_SMAP 8
#define PENUMBRA_FEATURE_DEBUG_CORE 16 /* the core was built with its checker */
#define PENUMBRA_FEATURE_SMEP 32
#define PENUMBRA_FEATURE_UMIP 64

struct penumbra_info {
	penumbra_u32 version; /* PENUMBRA_INTERFACE_VERSION */
	penumbra_u32 features;
	penumbra_u8 build_id[20]; /* of the core image */
	penumbra_u32 max_vcpus;
	/* What the module holds right now, over all VMs: all zero when no VM exists. */
	penumbra_u64 vms, vcpus, pinned_pages, pool_pages, table_pages;
	penumbra_u32 cpu_facts; /* PENUMBRA_CPU_* */
	penumbra_u32 barriers;  /* PENUMBRA_BARRIER_*: those in use */
	penumbra_u64 reserved[3];
};

/* penumbra_create_vm.flags */
#define PENUMBRA_CREATE_RESTRICTED 1 /* the entry view even where the CPU does not need it */
#define PENUMBRA_CREATE_DEBUG 2      /* run the invariant checker (debug cores only) */

struct penumbra_create_vm {
	penumbra_u32 version; /* PENUMBRA_INTERFACE_VERSION, else EPROTO */
	penumbra_u32 personality;
	penumbra_u32 flags;
	penumbra_u32 ram_frames;     /* 1 .. PENUMBRA_MAX_FRAMES */
	penumbra_u32 special_frames; /* frame numbers above RAM; 0 .. PENUMBRA_MAX_SPECIAL_FRAMES */
	penumbra_u32 pool_limit;     /* pages, 64 .. PENUMBRA_MAX_POOL_PAGES */
	penumbra_u64 reserved[4];
};

/* penumbra_region.flags */
#define PENUMBRA_REGION_READONLY 1 /* the guest may only read it */

/* Guest frames first .. first+count-1 are backed by `fd` (a memfd sealed against shrinking). */
struct penumbra_region {
	penumbra_s32 fd;
	penumbra_u32 flags;
	penumbra_u64 offset; /* bytes, page aligned */
	penumbra_u32 first_frame;
	penumbra_u32 frame_count;
	penumbra_u64 reserved[2];
};

struct penumbra_create_vcpu {
	penumbra_u32 id; /* 0, 1, 2 ... in order */
	penumbra_u32 reserved0;
	penumbra_u64 rip, rsp, rsi, rdi; /* guest-virtual; rsi and rdi as they are */
	penumbra_u64 root_frame;         /* guest frame of the top-level table */
	penumbra_u64 info_address;       /* guest-physical address of vcpu_info, 64-byte aligned */
	penumbra_u64 reserved[2];
};

/* penumbra_eventfd.flags */
#define PENUMBRA_EVENTFD_TO_GUEST 0   /* a signalled eventfd posts the port */
#define PENUMBRA_EVENTFD_FROM_GUEST 1 /* the guest's notification signals the eventfd */
#define PENUMBRA_EVENTFD_REMOVE 2

struct penumbra_eventfd {
	penumbra_u32 port; /* 1 .. PENUMBRA_MAX_PORTS-1 */
	penumbra_s32 fd;
	penumbra_u32 flags;
	penumbra_u32 reserved;
};

struct penumbra_counters {
	penumbra_u64 counter[PENUMBRA_COUNTER_COUNT];
	penumbra_u64 pinned_pages, pool_pages, table_pages;
	penumbra_u64 reserved[5];
};

/* The run page, mapped from the vCPU fd (offset 0, one page, shared, read and write). */
#define PENUMBRA_RUN_DATA_SIZE 3072
struct penumbra_run {
	penumbra_u32 exit_reason; /* PENUMBRA_EXIT_* */
	penumbra_u32 data_length; /* bytes of data[] that belong to a request */
	penumbra_u64 arg[6];      /* request: number, arguments. shutdown: kind, status */
	penumbra_u64 result;      /* VMM -> guest: the answer to a request */
	penumbra_u64 crash_reason, crash_rip, crash_cr2, crash_error, crash_vector, crash_detail;
	penumbra_u64 reserved[8];
	penumbra_u8 data[PENUMBRA_RUN_DATA_SIZE];
};
_Static_assert(sizeof(struct penumbra_run) <= PENUMBRA_PAGE_SIZE, "run page");
enum { PENUMBRA_RUN_OFFSET_DATA = __builtin_offsetof(struct penumbra_run, data) };

#define PENUMBRA_IOC 0xb7
/* On the device. */
#define PENUMBRA_GET_INFO _IOR(PENUMBRA_IOC, 0, struct penumbra_info)
#define PENUMBRA_CREATE_VM _IOW(PENUMBRA_IOC, 1, struct penumbra_create_vm)
/* On a VM. */
#define PENUMBRA_ADD_REGION _IOW(PENUMBRA_IOC, 16, struct penumbra_region)
#define PENUMBRA_CREATE_VCPU _IOW(PENUMBRA_IOC, 17, struct penumbra_create_vcpu)
#define PENUMBRA_SET_EVENTFD _IOW(PENUMBRA_IOC, 18, struct penumbra_eventfd)
#define PENUMBRA_POST _IO(PENUMBRA_IOC, 19) /* argument: port */
#define PENUMBRA_GET_COUNTERS _IOR(PENUMBRA_IOC, 20, struct penumbra_counters)
#define PENUMBRA_KILL _IO(PENUMBRA_IOC, 21) /* ends the VM with PENUMBRA_CRASH_KILLED */
/* On a vCPU. */
#define PENUMBRA_RUN _IO(PENUMBRA_IOC, 32)

#endif
#endif
