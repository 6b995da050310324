// SPDX-License-Identifier: Apache-2.0
/*
 * Every call of interface/penumbra/device.h with arguments that a hostile VMM would try.
 * Each must fail with the error that the interface names, or do what a good call does;
 * after each group the module must hold nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tiny_vm.h"
#include <penumbra/address_map.h>
#include <penumbra/vm.h>

#define PAGE ((unsigned long)PENUMBRA_PAGE_SIZE)
#define KERNEL_ADDRESS 0xffff888000001000ul

static int checks, failures;
static int device;
static volatile sig_atomic_t alarmed;

/* ---- checking ---- */

static void check_that(int holds, const char *what)
{
	checks++;
	if (holds)
		return;
	failures++;
	printf("FAIL: %s\n", what);
}

static void check_equal(unsigned long long seen, unsigned long long wanted, const char *what)
{
	checks++;
	if (seen == wanted)
		return;
	failures++;
	printf("FAIL: %s: %llu instead of %llu\n", what, seen, wanted);
}

/* `result` is that of a system call which must have failed with `error` (0: must have succeeded). */
static int outcome(long result, int error, const char *what)
{
	int seen = result < 0 ? errno : 0;

	checks++;
	if (seen == error)
		return 0;
	failures++;
	printf("FAIL: %s: %s instead of %s\n", what, strerrorname_np(seen), strerrorname_np(error));
	return -1;
}

#define CALL(error, what, ...) outcome(ioctl(__VA_ARGS__), error, what)
#define RUN_TO_END(what, tiny) outcome(tiny_vm_run(tiny), 0, what)

/* A VM or vCPU that must not have been made is closed, so that it does not count as a leak. */
static void refuse_fd(int fd, int error, const char *what)
{
	outcome(fd, error, what);
	if (fd >= 0)
		close(fd);
}

static void nothing_left(const char *after)
{
	struct penumbra_info info = module_info(device);

	check_that(!(info.vms | info.vcpus | info.pinned_pages | info.pool_pages | info.table_pages), after);
}

/* ---- pointers ---- */

/* An address whose structure would begin in a mapped page and end in none. */
static char *page_edge(unsigned long size)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED || munmap(pages + PAGE, PAGE))
		fail("a page with none behind it");
	return pages + PAGE - size + 8;
}

static void wild_pointers(int fd, unsigned long request, unsigned long size, const char *what)
{
	CALL(EFAULT, what, fd, request, NULL);
	CALL(EFAULT, what, fd, request, KERNEL_ADDRESS);
	CALL(EFAULT, what, fd, request, PENUMBRA_CORE_BASE);
	CALL(EFAULT, what, fd, request, 0x8000000000000000ul);
	CALL(EFAULT, what, fd, request, ~0ul);
	CALL(EFAULT, what, fd, request, page_edge(size));
}

/* ---- the device ---- */

static void refuse_vm(struct penumbra_create_vm args, int error, const char *what)
{
	refuse_fd(ioctl(device, PENUMBRA_CREATE_VM, &args), error, what);
}

#define REFUSE_VM(error, field, value)                              \
	do {                                                        \
		struct penumbra_create_vm args = tiny_configuration(); \
		args.field = (value);                               \
		refuse_vm(args, error, "CREATE_VM " #field " = " #value); \
	} while (0)

static void device_calls(void)
{
	struct penumbra_info info = module_info(device);
	int debug_error = info.features & PENUMBRA_FEATURE_DEBUG_CORE ? 0 : EOPNOTSUPP;

	wild_pointers(device, PENUMBRA_GET_INFO, sizeof(struct penumbra_info), "GET_INFO, wild pointer");
	wild_pointers(device, PENUMBRA_CREATE_VM, sizeof(struct penumbra_create_vm), "CREATE_VM, wild pointer");
	CALL(ENOTTY, "unknown call on the device", device, _IO(PENUMBRA_IOC, 2), 0);
	CALL(ENOTTY, "number 0 with another size", device, _IO(PENUMBRA_IOC, 0), &info);
	CALL(ENOTTY, "KILL on the device", device, PENUMBRA_KILL, 0);
	CALL(ENOTTY, "RUN on the device", device, PENUMBRA_RUN, 0);
	REFUSE_VM(EPROTO, version, 0);
	REFUSE_VM(EPROTO, version, PENUMBRA_INTERFACE_VERSION + 1);
	REFUSE_VM(EINVAL, personality, 0);
	REFUSE_VM(EINVAL, personality, UINT32_MAX);
	REFUSE_VM(EINVAL, flags, 4);
	REFUSE_VM(EINVAL, flags, 1u << 31);
	REFUSE_VM(debug_error, flags, PENUMBRA_CREATE_DEBUG);
	REFUSE_VM(EINVAL, ram_frames, 0);
	REFUSE_VM(EINVAL, ram_frames, PENUMBRA_MAX_FRAMES + 1);
	REFUSE_VM(EINVAL, ram_frames, UINT32_MAX);
	REFUSE_VM(EINVAL, special_frames, PENUMBRA_MAX_SPECIAL_FRAMES + 1);
	REFUSE_VM(EINVAL, special_frames, UINT32_MAX);
	REFUSE_VM(EINVAL, pool_limit, 0);
	REFUSE_VM(EINVAL, pool_limit, 32);
	REFUSE_VM(EINVAL, pool_limit, 65);
	REFUSE_VM(EINVAL, pool_limit, PENUMBRA_MAX_POOL_PAGES + PENUMBRA_POOL_CHUNK);
	REFUSE_VM(EINVAL, pool_limit, UINT32_MAX);
	REFUSE_VM(EINVAL, reserved[0], 1);
	REFUSE_VM(EINVAL, reserved[3], 1ull << 63);
	REFUSE_VM(0, pool_limit, PENUMBRA_MAX_POOL_PAGES);
	REFUSE_VM(0, ram_frames, PENUMBRA_MAX_FRAMES);
	nothing_left("calls on the device leave nothing");
}

/* ---- regions ---- */

static int new_vm(void)
{
	struct penumbra_create_vm args = tiny_configuration();
	int vm = ioctl(device, PENUMBRA_CREATE_VM, &args);

	if (vm < 0)
		fail("CREATE_VM");
	return vm;
}

static void region(int error, int vm, struct penumbra_region args, const char *what)
{
	CALL(error, what, vm, PENUMBRA_ADD_REGION, &args);
}

#define REGION(error, vm, what, ...) region(error, vm, (struct penumbra_region){ __VA_ARGS__ }, what)

static int memory_with_seals(int seals)
{
	int fd = memfd_create("hostile", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, TINY_FRAMES * PAGE) || fcntl(fd, F_ADD_SEALS, seals))
		fail("a sealed memfd");
	return fd;
}

static int opened_again(int memory, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		fail("a second open of a memfd");
	return fd;
}

/* On a VM of its own, so that one that is wrongly taken spoils no other check. */
static void refuse_backing(int fd, int error, const char *what)
{
	int vm = new_vm();

	REGION(error, vm, what, .fd = fd, .frame_count = 1);
	close(vm);
	close(fd);
}

static void region_backings(int good)
{
	int pipes[2];

	refuse_backing(-1, EBADF, "region of no descriptor");
	refuse_backing(12345, EBADF, "region of a closed descriptor");
	refuse_backing(opened_again(good, O_PATH), EBADF, "region of an O_PATH descriptor");
	refuse_backing(opened_again(good, O_RDONLY), EINVAL, "region of a read-only memfd");
	refuse_backing(memory_with_seals(0), EPERM, "region of an unsealed memfd");
	refuse_backing(memory_with_seals(F_SEAL_GROW), EPERM, "region of a memfd sealed against growing only");
	refuse_backing(memory_with_seals(F_SEAL_SHRINK | F_SEAL_WRITE), EPERM,
		       "region of a memfd sealed against writing");
	refuse_backing(memory_with_seals(F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE), EPERM,
		       "region of a memfd sealed against future writing");
	refuse_backing(open("/dev/zero", O_RDWR), EINVAL, "region of /dev/zero");
	refuse_backing(open("/init", O_RDONLY), EINVAL, "region of a read-only file");
	refuse_backing(eventfd(0, 0), EINVAL, "region of an eventfd");
	refuse_backing(new_vm(), EINVAL, "region of a VM");
	if (pipe(pipes))
		fail("pipe");
	refuse_backing(pipes[0], EINVAL, "region of a pipe");
	close(pipes[1]);
}

static void region_ranges(int vm, int fd)
{
	REGION(EINVAL, vm, "region of no frames", .fd = fd);
	REGION(EINVAL, vm, "region longer than RAM", .fd = fd, .frame_count = TINY_FRAMES + 1);
	REGION(EINVAL, vm, "region of 2^32-1 frames", .fd = fd, .frame_count = UINT32_MAX);
	REGION(EINVAL, vm, "region that wraps", .fd = fd, .first_frame = 1, .frame_count = UINT32_MAX);
	REGION(EINVAL, vm, "region behind RAM", .fd = fd, .first_frame = TINY_FRAMES, .frame_count = 1);
	REGION(EINVAL, vm, "region at frame 2^32-1", .fd = fd, .first_frame = UINT32_MAX, .frame_count = 1);
	REGION(EINVAL, vm, "unaligned offset", .fd = fd, .frame_count = 1, .offset = 8);
	REGION(EINVAL, vm, "offset at the end of the memfd",
	       .fd = fd, .frame_count = 1, .offset = TINY_FRAMES * PAGE);
	REGION(EINVAL, vm, "region past the end of the memfd",
	       .fd = fd, .frame_count = 2, .offset = (TINY_FRAMES - 1) * PAGE);
	REGION(EINVAL, vm, "offset that wraps", .fd = fd, .frame_count = 1, .offset = -PAGE);
	REGION(EINVAL, vm, "unknown flag of a region", .fd = fd, .frame_count = 1, .flags = 2);
	REGION(EINVAL, vm, "reserved field of a region", .fd = fd, .frame_count = 1, .reserved = { 0, 1 });
}

static void region_overlaps(int vm, int fd)
{
	int i;

	REGION(0, vm, "a good region", .fd = fd, .first_frame = 20, .frame_count = 10);
	REGION(EEXIST, vm, "the same again", .fd = fd, .first_frame = 20, .frame_count = 10);
	REGION(EEXIST, vm, "overlap inside", .fd = fd, .first_frame = 22, .frame_count = 1);
	REGION(EEXIST, vm, "overlap at the end", .fd = fd, .first_frame = 29, .frame_count = 9);
	REGION(EEXIST, vm, "overlap at the start", .fd = fd, .first_frame = 10, .frame_count = 11);
	REGION(EEXIST, vm, "overlap around", .fd = fd, .frame_count = TINY_FRAMES);
	for (i = 0; i < 15; i++)
		REGION(0, vm, "a region", .fd = fd, .first_frame = i, .frame_count = 1);
	REGION(ENOSPC, vm, "one region too many", .fd = fd, .first_frame = 40, .frame_count = 1);
}

static void regions(void)
{
	int vm = new_vm();
	int memory = sealed_memory(TINY_FRAMES * PAGE);

	wild_pointers(vm, PENUMBRA_ADD_REGION, sizeof(struct penumbra_region), "ADD_REGION, wild pointer");
	region_backings(memory);
	region_ranges(vm, memory);
	region_overlaps(vm, memory);
	outcome(fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE), EBUSY, "a write seal on memory that a VM writes");
	close(vm);
	outcome(fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE), 0, "a write seal on memory that no VM has any more");
	close(memory);
	nothing_left("regions leave nothing");
}

/* ---- vCPUs ---- */

static int new_vcpu(int vm, unsigned int id)
{
	struct penumbra_create_vcpu args = tiny_registers();

	args.id = id;
	return ioctl(vm, PENUMBRA_CREATE_VCPU, &args);
}

static void vcpus(void)
{
	struct penumbra_create_vcpu args = tiny_registers();
	int fds[PENUMBRA_MAX_VCPUS], vm = new_vm();
	unsigned int id;

	wild_pointers(vm, PENUMBRA_CREATE_VCPU, sizeof(args), "CREATE_VCPU, wild pointer");
	refuse_fd(new_vcpu(vm, 1), EINVAL, "vCPU 1 before 0");
	refuse_fd(new_vcpu(vm, UINT32_MAX), EINVAL, "vCPU 2^32-1");
	args.reserved0 = 1;
	refuse_fd(ioctl(vm, PENUMBRA_CREATE_VCPU, &args), EINVAL, "reserved0 of a vCPU");
	args = tiny_registers();
	args.reserved[1] = 1;
	refuse_fd(ioctl(vm, PENUMBRA_CREATE_VCPU, &args), EINVAL, "reserved[1] of a vCPU");
	for (id = 0; id < PENUMBRA_MAX_VCPUS; id++) {
		fds[id] = new_vcpu(vm, id);
		outcome(fds[id], 0, "a vCPU");
		refuse_fd(new_vcpu(vm, id), EINVAL, "the same vCPU again");
	}
	refuse_fd(new_vcpu(vm, PENUMBRA_MAX_VCPUS), EINVAL, "one vCPU too many");
	check_equal(module_info(device).vcpus, PENUMBRA_MAX_VCPUS, "vCPUs are counted");
	for (id = 0; id < PENUMBRA_MAX_VCPUS; id++)
		close(fds[id]);
	close(vm);
	nothing_left("vCPUs leave nothing");
}

/* Descriptors run out between the check of the arguments and the new file. */
static void no_descriptors(void)
{
	struct rlimit old, none;
	struct penumbra_create_vm args = tiny_configuration();
	int vm = new_vm();

	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = vm + 1;
	setrlimit(RLIMIT_NOFILE, &none);
	refuse_fd(ioctl(device, PENUMBRA_CREATE_VM, &args), EMFILE, "CREATE_VM without descriptors");
	refuse_fd(new_vcpu(vm, 0), EMFILE, "CREATE_VCPU without descriptors");
	setrlimit(RLIMIT_NOFILE, &old);
	check_equal(module_info(device).vms, 1, "the refused VM is gone");
	check_equal(module_info(device).vcpus, 0, "the refused vCPU is gone");
	close(vm);
	nothing_left("calls without descriptors leave nothing");
}

/* ---- the run page ---- */

static void map(int error, int fd, unsigned long length, int protection, int flags, long offset,
		const char *what)
{
	void *address = mmap(NULL, length, protection, flags, fd, offset);

	outcome(address == MAP_FAILED ? -1 : 0, error, what);
	if (address != MAP_FAILED)
		munmap(address, length);
}

static void run_pages(void)
{
	struct tiny_vm tiny = tiny_vm_create(device, TINY_GUEST(tiny_exit));
	int rw = PROT_READ | PROT_WRITE;

	map(EINVAL, tiny.vcpu, 2 * PAGE, rw, MAP_SHARED, 0, "two run pages");
	map(EINVAL, tiny.vcpu, PAGE, rw, MAP_SHARED, PAGE, "the second run page");
	map(EINVAL, tiny.vcpu, PAGE, rw, MAP_SHARED, 1l << 40, "a run page far behind");
	map(EINVAL, tiny.vcpu, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, 0, "an executable run page");
	map(EINVAL, tiny.vcpu, PAGE, rw, MAP_PRIVATE, 0, "a private run page");
	map(0, tiny.vcpu, PAGE, PROT_READ, MAP_SHARED, 0, "a second mapping of the run page");
	map(ENODEV, tiny.vm, PAGE, rw, MAP_SHARED, 0, "a mapping of the VM");
	map(ENODEV, device, PAGE, rw, MAP_SHARED, 0, "a mapping of the device");
	outcome(mprotect(tiny.run, PAGE, PROT_READ | PROT_EXEC), EACCES, "mprotect of the run page to executable");
	mprotect(tiny.run, PAGE, rw);
	outcome(mremap(tiny.run, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0, EFAULT,
		"mremap of the run page to two");
	/* The guest's answers do not depend on what the VMM writes there meanwhile. */
	memset(tiny.run, 0xff, PAGE);
	RUN_TO_END("RUN with a run page full of ones", &tiny);
	check_equal(tiny.run->exit_reason, PENUMBRA_EXIT_SHUTDOWN, "the guest powers off");
	check_equal(tiny.run->arg[1], TINY_EXIT_STATUS, "with its status");
	close(tiny.vcpu);
	close(tiny.vm);
	check_equal(module_info(device).vms, 1, "the mapping keeps the VM");
	memset(tiny.run, 0, PAGE);
	tiny_vm_close(&tiny);
	nothing_left("run pages leave nothing");
}

/* ---- RUN ---- */

static void *run_until_dead(void *argument)
{
	const struct tiny_vm *tiny = argument;

	RUN_TO_END("RUN until the VM is ended", tiny);
	return NULL;
}

/* Counters may be read while a vCPU runs: wait until it has entered the guest. */
static void wait_until_running(const struct tiny_vm *tiny)
{
	struct penumbra_counters counters;

	do {
		usleep(1000);
		if (ioctl(tiny->vm, PENUMBRA_GET_COUNTERS, &counters))
			fail("GET_COUNTERS");
	} while (!counters.counter[PENUMBRA_COUNTER_exit_interrupt]);
}

static void start_thread(pthread_t *thread, void *(*body)(void *), void *argument)
{
	if (pthread_create(thread, NULL, body, argument))
		fail("pthread_create");
}

static void crash_of(struct penumbra_create_vcpu args, int with_region, unsigned int reason,
		     const char *what)
{
	struct tiny_vm tiny = { .vm = new_vm(), .memory = sealed_memory(TINY_FRAMES * PAGE) };

	if (with_region && tiny_region(&tiny))
		fail("ADD_REGION");
	tiny.vcpu = ioctl(tiny.vm, PENUMBRA_CREATE_VCPU, &args);
	if (tiny.vcpu < 0)
		fail("CREATE_VCPU");
	tiny.run = map_run_page(tiny.vcpu);
	RUN_TO_END(what, &tiny);
	check_equal(tiny.run->exit_reason, PENUMBRA_EXIT_CRASH, what);
	check_equal(tiny.run->crash_reason, reason, what);
	RUN_TO_END("RUN of a dead VM", &tiny);
	check_equal(tiny.run->exit_reason, PENUMBRA_EXIT_DEAD, "RUN of a dead VM");
	check_equal(tiny.run->crash_reason, reason, "a dead VM keeps its reason");
	tiny_vm_close(&tiny);
}

#define BAD_START(field, value)                                                      \
	do {                                                                         \
		struct penumbra_create_vcpu args = tiny_registers();                 \
		args.field = (value);                                                \
		crash_of(args, 1, PENUMBRA_CRASH_BAD_START, "start with " #field " = " #value); \
	} while (0)

static void bad_starts(void)
{
	crash_of(tiny_registers(), 0, PENUMBRA_CRASH_OUT_OF_MEMORY, "start without memory");
	BAD_START(rip, 0x800000000000);
	BAD_START(rip, PENUMBRA_CORE_IMAGE);
	BAD_START(root_frame, TINY_FRAMES);
	BAD_START(root_frame, ~0ull);
	BAD_START(info_address, TINY_INFO + 8);
	BAD_START(info_address, TINY_FRAMES * PAGE);
	BAD_START(info_address, ~63ull);
	nothing_left("bad starts leave nothing");
}

/* Work of the kernel's own ends RUN as a signal does, so it is called until the alarm came. */
static void run_until_alarm(const struct tiny_vm *tiny)
{
	struct itimerval soon = { { .tv_sec = 1 }, { .tv_sec = 1 } }, never = { 0 };

	alarmed = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	do {
		CALL(EINTR, "RUN until a signal, after a refused KILL", tiny->vcpu, PENUMBRA_RUN, 0);
		check_equal(tiny->run->exit_reason, PENUMBRA_EXIT_SIGNAL, "the run page says so");
	} while (!alarmed);
	setitimer(ITIMER_REAL, &never, NULL);
}

static void run_arguments(void)
{
	struct tiny_vm tiny = tiny_vm_create(device, TINY_GUEST(tiny_spin));

	CALL(EINVAL, "RUN with an argument", tiny.vcpu, PENUMBRA_RUN, 1);
	CALL(ENOTTY, "KILL on a vCPU", tiny.vcpu, PENUMBRA_KILL, 0);
	CALL(ENOTTY, "GET_INFO on a vCPU", tiny.vcpu, PENUMBRA_GET_INFO, NULL);
	CALL(ENOTTY, "RUN on a VM", tiny.vm, PENUMBRA_RUN, 0);
	CALL(ENOTTY, "CREATE_VM on a VM", tiny.vm, PENUMBRA_CREATE_VM, NULL);
	wild_pointers(tiny.vm, PENUMBRA_GET_COUNTERS, sizeof(struct penumbra_counters),
		      "GET_COUNTERS, wild pointer");
	outcome(write(tiny.vcpu, "x", 1), EINVAL, "write to a vCPU");
	outcome(write(tiny.vm, "x", 1), EINVAL, "write to a VM");
	CALL(EINVAL, "KILL with an argument", tiny.vm, PENUMBRA_KILL, 1);
	run_until_alarm(&tiny);
	CALL(0, "KILL", tiny.vm, PENUMBRA_KILL, 0);
	RUN_TO_END("RUN after KILL", &tiny);
	check_equal(tiny.run->exit_reason, PENUMBRA_EXIT_DEAD, "RUN after KILL finds it dead");
	check_equal(tiny.run->crash_reason, PENUMBRA_CRASH_KILLED, "and killed");
	tiny_vm_close(&tiny);
	nothing_left("RUN leaves nothing");
}

static void two_runners(void)
{
	struct tiny_vm tiny = tiny_vm_create(device, TINY_GUEST(tiny_spin));
	pthread_t threads[2];

	start_thread(&threads[0], run_until_dead, &tiny);
	start_thread(&threads[1], run_until_dead, &tiny);
	wait_until_running(&tiny);
	CALL(0, "KILL of a VM that runs", tiny.vm, PENUMBRA_KILL, 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	check_equal(tiny.run->exit_reason, PENUMBRA_EXIT_DEAD, "both runners find it dead");
	tiny_vm_close(&tiny);
	nothing_left("two runners leave nothing");
}

/* ---- closing while it runs ---- */

/* NULL where work of the kernel's ended RUN, and the vCPU was closed before the next call. */
static void *run_until_signal(void *argument)
{
	const struct tiny_vm *tiny = argument;
	int result;

	do
		result = ioctl(tiny->vcpu, PENUMBRA_RUN, 0);
	while (result < 0 && errno == EINTR && !alarmed);
	if (result < 0 && errno == EBADF)
		return NULL;
	outcome(result, EINTR, "RUN until a signal");
	return argument;
}

/* Whether the vCPU ran when its files were closed. */
static int close_while_running(const int order[3])
{
	struct tiny_vm tiny = tiny_vm_create(device, TINY_GUEST(tiny_spin));
	unsigned long long vcpus;
	void *interrupted;
	pthread_t thread;
	int i;

	alarmed = 0;
	start_thread(&thread, run_until_signal, &tiny);
	wait_until_running(&tiny);
	for (i = 0; i < 3; i++) {
		switch (order[i]) {
		case 0:
			close(tiny.vm);
			break;
		case 1:
			close(tiny.vcpu);
			break;
		case 2:
			munmap(tiny.run, PAGE);
			break;
		}
	}
	vcpus = module_info(device).vcpus;
	pthread_kill(thread, SIGALRM);
	pthread_join(thread, &interrupted);
	if (interrupted)
		check_equal(vcpus, 1, "the thread that runs it keeps the vCPU");
	close(tiny.memory);
	nothing_left("closed while it ran, it leaves nothing");
	return interrupted != NULL;
}

static void closing(void)
{
	static const int orders[][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		while (!close_while_running(orders[i]))
			;
}

/* ---- another process ---- */

static void in_child(const struct tiny_vm *tiny)
{
	struct penumbra_counters counters;
	struct penumbra_region args = { .fd = tiny->memory, .frame_count = 1 };

	failures = 0;
	CALL(EPERM, "foreign RUN", tiny->vcpu, PENUMBRA_RUN, 0);
	CALL(EPERM, "foreign KILL", tiny->vm, PENUMBRA_KILL, 0);
	CALL(EPERM, "foreign POST", tiny->vm, PENUMBRA_POST, 1);
	CALL(EPERM, "foreign GET_COUNTERS", tiny->vm, PENUMBRA_GET_COUNTERS, &counters);
	CALL(EPERM, "foreign ADD_REGION", tiny->vm, PENUMBRA_ADD_REGION, &args);
	refuse_fd(new_vcpu(tiny->vm, 1), EPERM, "foreign CREATE_VCPU");
	map(EPERM, tiny->vcpu, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0, "foreign mmap");
	outcome(msync(tiny->run, PAGE, MS_ASYNC), ENOMEM, "the run page in a child");
	CALL(0, "GET_INFO in a child", device, PENUMBRA_GET_INFO, &(struct penumbra_info){ 0 });
	fflush(stdout);
	_exit(failures != 0);
}

static void foreign_process(void)
{
	struct tiny_vm tiny = tiny_vm_create(device, TINY_GUEST(tiny_exit));
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0)
		in_child(&tiny);
	if (child < 0 || waitpid(child, &status, 0) != child)
		fail("fork");
	check_equal(status, 0, "what a child may not do");
	RUN_TO_END("RUN after the child's attempts", &tiny);
	check_equal(tiny.run->exit_reason, PENUMBRA_EXIT_SHUTDOWN, "the guest still runs to its end");
	tiny_vm_close(&tiny);
	nothing_left("a child leaves nothing");
}

/* ---- eventfds ---- */

static void event(int error, int vm, unsigned int port, int fd, unsigned int flags, const char *what)
{
	struct penumbra_eventfd args = { .port = port, .fd = fd, .flags = flags };

	CALL(error, what, vm, PENUMBRA_SET_EVENTFD, &args);
}

static void event_direction(int vm, int fd, unsigned int direction)
{
	event(EINVAL, vm, 0, fd, direction, "eventfd for port 0");
	event(EINVAL, vm, PENUMBRA_MAX_PORTS, fd, direction, "eventfd for a port too high");
	event(EINVAL, vm, UINT32_MAX, fd, direction, "eventfd for port 2^32-1");
	event(EINVAL, vm, 8, fd, direction | 4, "unknown flag of an eventfd");
	event(EBADF, vm, 8, -1, direction, "no eventfd");
	event(EINVAL, vm, 8, device, direction, "the device as an eventfd");
	event(EINVAL, vm, 8, vm, direction, "the VM as an eventfd");
	event(ENOENT, vm, 8, -1, direction | PENUMBRA_EVENTFD_REMOVE, "removal of no eventfd");
	event(0, vm, 8, fd, direction, "an eventfd");
	event(EEXIST, vm, 8, fd, direction, "a second eventfd for a port");
	event(0, vm, 9, fd, direction, "the same eventfd for another port");
	event(0, vm, 8, -1, direction | PENUMBRA_EVENTFD_REMOVE, "removal");
	event(ENOENT, vm, 8, -1, direction | PENUMBRA_EVENTFD_REMOVE, "a second removal");
	event(0, vm, 8, fd, direction, "an eventfd again");
}

static void events(void)
{
	struct penumbra_eventfd reserved = { .port = 10, .reserved = 1 };
	int vm = new_vm(), fd = eventfd(0, EFD_CLOEXEC);

	wild_pointers(vm, PENUMBRA_SET_EVENTFD, sizeof(reserved), "SET_EVENTFD, wild pointer");
	reserved.fd = fd;
	CALL(EINVAL, "reserved field of an eventfd", vm, PENUMBRA_SET_EVENTFD, &reserved);
	event_direction(vm, fd, PENUMBRA_EVENTFD_TO_GUEST);
	event_direction(vm, fd, PENUMBRA_EVENTFD_FROM_GUEST);
	CALL(EINVAL, "POST of port 0", vm, PENUMBRA_POST, 0);
	CALL(EINVAL, "POST of a port too high", vm, PENUMBRA_POST, PENUMBRA_MAX_PORTS);
	CALL(EINVAL, "POST of port 2^64-1", vm, PENUMBRA_POST, ~0ul);
	CALL(0, "POST to a port that nobody is bound to", vm, PENUMBRA_POST, 1);
	eventfd_write(fd, 1);
	close(vm);
	eventfd_write(fd, 1);
	close(fd);
	nothing_left("eventfds leave nothing");
}

/* ---- all of it ---- */

static void on_alarm(int signal)
{
	(void)signal;
	alarmed = 1;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_alarm };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGALRM, &action, NULL);
	device = open_device();
	device_calls();
	regions();
	vcpus();
	no_descriptors();
	run_pages();
	bad_starts();
	run_arguments();
	two_runners();
	closing();
	foreign_process();
	events();
	printf("checks %d failures %d\n", checks, failures);
	if (failures)
		return 1;
	puts("PASS");
	return 0;
}
