/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Swift of the micro-guests cannot say: hypercalls, single instructions, loads
 * and stores that must happen exactly as written, and the labels of start.S and probes.S.
 */
#ifndef PENUMBRA_KIT_H
#define PENUMBRA_KIT_H

#include "layout.h"
#include <penumbra/counters.h>
#include <penumbra/exit.h>
#include <penumbra/test_abi.h>
#include <penumbra/vcpu.h>
#include <stdbool.h>
#include <stdint.h>

/* Constants whose macros have a suffix that Swift does not import. */
static const uint64_t kit_direct_map = PTEST_DIRECT_MAP;
static const uint64_t kit_start_magic = PTEST_START_MAGIC;
static const uint64_t kit_hole_start = PENUMBRA_HOLE_START;
static const uint64_t kit_hole_end = PENUMBRA_HOLE_END;
static const uint64_t kit_core_image = PENUMBRA_CORE_IMAGE;
static const uint64_t kit_core_vcpus = PENUMBRA_CORE_VCPUS;
static const uint64_t kit_core_vm = PENUMBRA_CORE_VM;
static const uint64_t kit_core_ram = PENUMBRA_CORE_RAM;

/* ---- what the assembly and Swift share ---- */

/* What a probed instruction met; see probes.S. */
struct kit_trap {
	uint64_t taken;    /* 1 if it trapped */
	uint64_t expected; /* address of the probed instruction */
	uint64_t vector, error, rip, cs, rflags, rsp, ss, cr2;
};
PENUMBRA_ASSERT_OFFSET(struct kit_trap, expected, KIT_TRAP_EXPECTED);

typedef uint64_t (*kit_probe)(struct kit_trap *trap, uint64_t a, uint64_t b, uint64_t c);
typedef void (*kit_handler)(struct penumbra_frame *frame);
typedef void (*kit_entry)(void);

/* State of one vCPU. */
struct kit_cpu {
	uint64_t user_call_stack; /* kernel stack of the user call in progress */
	uint64_t events;          /* event callbacks taken */
	uint64_t timer_events;    /* ... that found the timer's port pending */
	uint64_t ports;           /* pending ports that callbacks have collected */
	kit_entry entry;          /* what a started vCPU runs */
	uint64_t finished;        /* ... and that it has returned */
	uint64_t text_length;
	uint8_t text[256]; /* the line of console output being put together */
};

/* Where Swift finds the words that interrupts or other vCPUs change. */
enum {
	KIT_CPU_EVENTS = __builtin_offsetof(struct kit_cpu, events),
	KIT_CPU_TIMER_EVENTS = __builtin_offsetof(struct kit_cpu, timer_events),
	KIT_CPU_PORTS = __builtin_offsetof(struct kit_cpu, ports),
	KIT_CPU_FINISHED = __builtin_offsetof(struct kit_cpu, finished),
	KIT_CPU_TEXT = __builtin_offsetof(struct kit_cpu, text),
};

extern struct kit_cpu kit_cpus[KIT_MAX_CPUS];
extern kit_handler kit_handlers[KIT_HANDLER_COUNT];
extern uint8_t kit_stacks[KIT_MAX_CPUS][KIT_STACK_STRIDE];
extern uint8_t kit_vectors[256 * KIT_VECTOR_STRIDE];

extern void kit_event_entry(void);
extern void kit_syscall_entry(void);
extern void kit_syscall_fast_entry(void);
extern void kit_secondary_start(void);
extern void kit_user_exit(void);
extern uint64_t kit_user_enter(uint64_t function, uint64_t stack, uint64_t rflags,
			       uint64_t *saved_stack, const uint64_t arguments[4]);
extern void kit_user_leave(uint64_t value, uint64_t saved_stack) __attribute__((noreturn));

extern void kit_fpu_hold(uint64_t in, uint64_t out, uint64_t spins, uint64_t avx, uint64_t number);

static inline struct kit_cpu *kit_cpu_at(uint64_t id)
{
	return &kit_cpus[id];
}
static inline uint64_t kit_cpu_address(uint64_t id)
{
	return (uint64_t)&kit_cpus[id];
}
static inline void kit_set_handler(uint64_t index, kit_handler handler)
{
	kit_handlers[index] = handler;
}
static inline kit_handler kit_handler_at(uint64_t index)
{
	return kit_handlers[index];
}
static inline uint64_t kit_function_address(kit_entry function)
{
	return (uint64_t)function;
}
static inline uint64_t kit_probe_address(kit_probe probe)
{
	return (uint64_t)probe;
}
static inline uint64_t kit_vector_entry(uint64_t vector)
{
	return (uint64_t)kit_vectors + vector * KIT_VECTOR_STRIDE;
}
static inline uint64_t kit_stack_area(uint64_t id)
{
	return (uint64_t)kit_stacks[id];
}
/* Which vCPU this is: told from the stack, so that it needs nothing that is under test. */
static inline uint64_t kit_cpu_id(void)
{
	uint64_t stack;

	__asm__ volatile("mov %%rsp, %0" : "=r"(stack));
	return (stack - (uint64_t)kit_stacks) / KIT_STACK_STRIDE;
}

/* ---- hypercalls; in user mode the same instruction is a system call ---- */

static inline int64_t kit_hypercall6(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
				     uint64_t e, uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	int64_t result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory", "cc");
	return result;
}
/* r10 is 0: PTEST_UPDATE counts its progress there. */
static inline int64_t kit_hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t r10 __asm__("r10") = 0;
	int64_t result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory", "cc");
	return result;
}

/* iret from a frame at `stack`, or from one with these two; there is no way back. */
static inline void __attribute__((noreturn)) kit_iret_from(uint64_t stack)
{
	__asm__ volatile("mov %0, %%rsp; syscall; ud2" : : "r"(stack), "a"((uint64_t)PTEST_IRET));
	__builtin_unreachable();
}
static inline void __attribute__((noreturn)) kit_iret(uint64_t rip, uint64_t cs)
{
	volatile uint64_t frame[9] = { 0, 0, 0, 0, rip, cs, 2, 0, PENUMBRA_SEL_GUEST_SS };

	frame[7] = (uint64_t)frame;
	kit_iret_from((uint64_t)frame);
}

/* ---- memory ---- */

static inline uint64_t kit_load64(uint64_t address)
{
	return *(const volatile uint64_t *)address;
}
static inline uint32_t kit_load32(uint64_t address)
{
	return *(const volatile uint32_t *)address;
}
static inline uint8_t kit_load8(uint64_t address)
{
	return *(const volatile uint8_t *)address;
}
static inline void kit_store64(uint64_t address, uint64_t value)
{
	*(volatile uint64_t *)address = value;
}
static inline void kit_store8(uint64_t address, uint8_t value)
{
	*(volatile uint8_t *)address = value;
}
static inline uint64_t kit_exchange64(uint64_t address, uint64_t value)
{
	return __atomic_exchange_n((uint64_t *)address, value, __ATOMIC_SEQ_CST);
}
static inline uint64_t kit_add64(uint64_t address, uint64_t value)
{
	return __atomic_fetch_add((uint64_t *)address, value, __ATOMIC_SEQ_CST);
}
static inline void kit_and64(uint64_t address, uint64_t value)
{
	__asm__ volatile("lock andq %1, (%0)" : : "r"(address), "r"(value) : "memory", "cc");
}
/* `lock bts`: sets bit `bit`, says whether it was set before. */
static inline bool kit_set_bit(uint64_t address, uint64_t bit)
{
	bool was;

	__asm__ volatile("lock btsq %2, (%1)" : "=@ccc"(was) : "r"(address), "r"(bit) : "memory");
	return was;
}
static inline void kit_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- single instructions ---- */

static inline void kit_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}
static inline uint64_t kit_rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return low | (uint64_t)high << 32;
}
static inline void kit_trap_now(void)
{
	__asm__ volatile("ud2" : : : "memory");
}
static inline uint64_t kit_code_segment(void)
{
	uint64_t selector;

	__asm__ volatile("mov %%cs, %0" : "=r"(selector));
	return selector;
}
static inline uint64_t kit_stack_segment(void)
{
	uint64_t selector;

	__asm__ volatile("mov %%ss, %0" : "=r"(selector));
	return selector;
}

struct kit_cpuid {
	uint32_t eax, ebx, ecx, edx;
};
static inline struct kit_cpuid kit_cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct kit_cpuid r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

/* ---- timed loops: TSC ticks of `count` operations and of the loop around them ---- */

/* Calls that change their first two arguments by xor from one to the next. */
struct kit_calls {
	uint64_t number, a, b, c, toggle_a, toggle_b;
	uint64_t stored; /* what is stored at the address `c` before each, if anything is */
};

/* The operation comes after a call's arguments; in user mode it makes system calls. */
#define KIT_TIMED_CALLS(name, operation)                                                         \
	static inline uint64_t name(const struct kit_calls *calls, uint64_t count)               \
	{                                                                                        \
		register uint64_t r10 __asm__("r10") = 0;                                        \
		uint64_t a = calls->a, b = calls->b, began = kit_rdtsc();                        \
                                                                                                 \
		__asm__ volatile("1: xorq %[toggle_a], %[a]\n"                                   \
				 "xorq %[toggle_b], %[b]\n"                                      \
				 "movq %[number], %%rax\n" operation "\n"                        \
				 "decq %[count]\n"                                               \
				 "jnz 1b"                                                        \
				 : [count] "+r"(count), [a] "+D"(a), [b] "+S"(b)                 \
				 : [number] "r"(calls->number), [c] "d"(calls->c),               \
				   [toggle_a] "r"(calls->toggle_a), [toggle_b] "r"(calls->toggle_b), \
				   [stored] "r"(calls->stored), "r"(r10)                         \
				 : "rax", "rcx", "r11", "memory", "cc");                         \
		return kit_rdtsc() - began;                                                      \
	}
KIT_TIMED_CALLS(kit_time_no_calls, "")
KIT_TIMED_CALLS(kit_time_calls, "syscall")
KIT_TIMED_CALLS(kit_time_stores_and_calls, "movq %[stored], (%[c]); syscall")
KIT_TIMED_CALLS(kit_time_breakpoints, "int3")
#undef KIT_TIMED_CALLS

/* One access to each of `count` pages from `address` on. */
#define KIT_TIMED_PAGES(name, operation)                                              \
	static inline uint64_t name(uint64_t address, uint64_t stride, uint64_t count) \
	{                                                                             \
		uint64_t began = kit_rdtsc();                                         \
                                                                                      \
		__asm__ volatile("1: " operation "\n"                                 \
				 "addq %[stride], %[address]\n"                       \
				 "decq %[count]\n"                                    \
				 "jnz 1b"                                             \
				 : [count] "+r"(count), [address] "+r"(address)       \
				 : [stride] "r"(stride)                               \
				 : "rax", "memory", "cc");                            \
		return kit_rdtsc() - began;                                           \
	}
KIT_TIMED_PAGES(kit_time_no_accesses, "")
KIT_TIMED_PAGES(kit_time_loads, "movq (%[address]), %%rax")
KIT_TIMED_PAGES(kit_time_stores, "movb $1, (%[address])")
#undef KIT_TIMED_PAGES

/* ---- instructions that may trap: probes.S ---- */

#define KIT_PROBE(name, before, instruction, after) \
	extern uint64_t kit_probe_##name(struct kit_trap *trap, uint64_t a, uint64_t b, uint64_t c);
#include "probes.h"
#undef KIT_PROBE

#endif
