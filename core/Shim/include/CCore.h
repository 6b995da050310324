/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The one seam between the core's Swift and what Swift cannot say: single privileged
 * instructions, and plain loads and stores that must not be torn, reordered or elided.
 * Built into the core (freestanding) they are the instructions; built for Linux (the
 * core's tests) the privileged ones call hooks that a test may watch.
 */
#ifndef PENUMBRA_CCORE_H
#define PENUMBRA_CCORE_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__STDC_HOSTED__) && __STDC_HOSTED__
#define CCORE_HOSTED 1
#else
#define CCORE_HOSTED 0
#endif

/* Even when optimising for size: a call costs more than most of these. */
#define CCORE_INLINE static inline __attribute__((always_inline))

/* -- memory: `address` is a core address (or, in tests, one inside the fake windows) -- */

CCORE_INLINE uint64_t ccore_load64(uintptr_t address)
{
	return __atomic_load_n((const uint64_t *)address, __ATOMIC_RELAXED);
}
CCORE_INLINE uint32_t ccore_load32(uintptr_t address)
{
	return __atomic_load_n((const uint32_t *)address, __ATOMIC_RELAXED);
}
CCORE_INLINE uint16_t ccore_load16(uintptr_t address)
{
	return __atomic_load_n((const uint16_t *)address, __ATOMIC_RELAXED);
}
CCORE_INLINE uint8_t ccore_load8(uintptr_t address)
{
	return __atomic_load_n((const uint8_t *)address, __ATOMIC_RELAXED);
}
CCORE_INLINE void ccore_store64(uintptr_t address, uint64_t value)
{
	__atomic_store_n((uint64_t *)address, value, __ATOMIC_RELAXED);
}
CCORE_INLINE void ccore_store32(uintptr_t address, uint32_t value)
{
	__atomic_store_n((uint32_t *)address, value, __ATOMIC_RELAXED);
}
CCORE_INLINE void ccore_store16(uintptr_t address, uint16_t value)
{
	__atomic_store_n((uint16_t *)address, value, __ATOMIC_RELAXED);
}
CCORE_INLINE void ccore_store8(uintptr_t address, uint8_t value)
{
	__atomic_store_n((uint8_t *)address, value, __ATOMIC_RELAXED);
}
CCORE_INLINE uint64_t ccore_exchange64(uintptr_t address, uint64_t value)
{
	return __atomic_exchange_n((uint64_t *)address, value, __ATOMIC_SEQ_CST);
}
CCORE_INLINE uint32_t ccore_exchange32(uintptr_t address, uint32_t value)
{
	return __atomic_exchange_n((uint32_t *)address, value, __ATOMIC_SEQ_CST);
}
CCORE_INLINE uint8_t ccore_exchange8(uintptr_t address, uint8_t value)
{
	return __atomic_exchange_n((uint8_t *)address, value, __ATOMIC_SEQ_CST);
}
/* Returns true and stores `desired` if *address == expected. */
CCORE_INLINE bool ccore_compare_exchange64(uintptr_t address, uint64_t expected, uint64_t desired)
{
	return __atomic_compare_exchange_n((uint64_t *)address, &expected, desired, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
CCORE_INLINE bool ccore_compare_exchange32(uintptr_t address, uint32_t expected, uint32_t desired)
{
	return __atomic_compare_exchange_n((uint32_t *)address, &expected, desired, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
CCORE_INLINE uint64_t ccore_fetch_or64(uintptr_t address, uint64_t bits)
{
	return __atomic_fetch_or((uint64_t *)address, bits, __ATOMIC_SEQ_CST);
}
CCORE_INLINE uint64_t ccore_fetch_and64(uintptr_t address, uint64_t bits)
{
	return __atomic_fetch_and((uint64_t *)address, bits, __ATOMIC_SEQ_CST);
}
CCORE_INLINE uint32_t ccore_fetch_add32(uintptr_t address, uint32_t addend)
{
	return __atomic_fetch_add((uint32_t *)address, addend, __ATOMIC_SEQ_CST);
}
/* The two halves of a lock: nothing moves above the first or below the second. */
CCORE_INLINE uint32_t ccore_load_acquire32(uintptr_t address)
{
	return __atomic_load_n((const uint32_t *)address, __ATOMIC_ACQUIRE);
}
CCORE_INLINE void ccore_store_release32(uintptr_t address, uint32_t value)
{
	__atomic_store_n((uint32_t *)address, value, __ATOMIC_RELEASE);
}
CCORE_INLINE void ccore_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
CCORE_INLINE void ccore_clear_page(uintptr_t address)
{
#if CCORE_HOSTED
	__builtin_memset((void *)address, 0, 4096);
#else
	unsigned long count = 512;
	__asm__ volatile("rep stosq" : "+D"(address), "+c"(count) : "a"(0ul) : "memory");
#endif
}
/* Whole words first: most copies are frames and requests of a few. */
CCORE_INLINE void ccore_copy(uintptr_t to, uintptr_t from, uintptr_t bytes)
{
	while (bytes >= 8) {
		uint64_t word;

		__builtin_memcpy(&word, (const void *)from, 8);
		__asm__ volatile("" : "+r"(word)); /* keeps the loop from becoming a call */
		__builtin_memcpy((void *)to, &word, 8);
		to += 8;
		from += 8;
		bytes -= 8;
	}
	for (; bytes; bytes--)
		*(volatile uint8_t *)to++ = *(const volatile uint8_t *)from++;
}
CCORE_INLINE void ccore_pause(void)
{
	__builtin_ia32_pause();
}
CCORE_INLINE uint64_t ccore_rdtsc(void)
{
	return __builtin_ia32_rdtsc();
}

/* -- privileged instructions -- */
#if CCORE_HOSTED
CCORE_INLINE bool ccore_guest_copy(uint64_t to, uint64_t from, uint64_t bytes, uint32_t smap)
{
	(void)to, (void)from, (void)bytes, (void)smap;
	return false; /* no guest tables are loaded here */
}
CCORE_INLINE bool ccore_guest_push_fault(uint64_t to, uint64_t vcpu, uint64_t error, uint32_t smap)
{
	(void)to, (void)vcpu, (void)error, (void)smap;
	return false;
}
extern void (*ccore_hook_invlpg)(uint64_t linear);
extern void (*ccore_hook_load_cr3)(uint64_t value);
void ccore_set_hooks(void (*invlpg)(uint64_t linear), void (*load_cr3)(uint64_t value));
CCORE_INLINE void ccore_invlpg(uint64_t linear)
{
	if (ccore_hook_invlpg)
		ccore_hook_invlpg(linear);
}
CCORE_INLINE void ccore_load_cr3(uint64_t value)
{
	if (ccore_hook_load_cr3)
		ccore_hook_load_cr3(value);
}
CCORE_INLINE uint64_t ccore_read_cr2(void) { return 0; }
CCORE_INLINE uint64_t ccore_read_cr3(void) { return 0; }
CCORE_INLINE void ccore_xsetbv(uint64_t value) { (void)value; }
CCORE_INLINE uint64_t ccore_take_debug_status(void) { return 0; }
CCORE_INLINE uint64_t ccore_read_fs_base(void) { return 0; }
CCORE_INLINE uint64_t ccore_read_gs_base(void) { return 0; }
CCORE_INLINE void ccore_write_fs_base(uint64_t base) { (void)base; }
CCORE_INLINE void ccore_write_gs_base(uint64_t base) { (void)base; }
CCORE_INLINE bool ccore_load_gs(uint16_t selector) { (void)selector; return true; }
CCORE_INLINE uint64_t ccore_read_efer(void) { return 0xd01; }
CCORE_INLINE uint64_t ccore_read_cr0(void) { return 0x80050033; }
CCORE_INLINE void ccore_debug_byte(uint8_t byte) { (void)byte; }
#else
/* World/Assembly/entry.S: `to` or `from` is a guest address, checked by the caller. */
/* False if the live tables do not take the selector: GS is as it was. */
extern bool ccore_load_gs(uint16_t selector);
extern bool ccore_guest_copy(uint64_t to, uint64_t from, uint64_t bytes, uint32_t smap);
extern bool ccore_guest_push_fault(uint64_t to, uint64_t vcpu, uint64_t error, uint32_t smap);
CCORE_INLINE void ccore_invlpg(uint64_t linear)
{
	__asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
}
CCORE_INLINE void ccore_load_cr3(uint64_t value)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}
CCORE_INLINE uint64_t ccore_read_cr2(void)
{
	uint64_t value;
	__asm__ volatile("mov %%cr2, %0" : "=r"(value));
	return value;
}
CCORE_INLINE uint64_t ccore_read_cr3(void)
{
	uint64_t value;
	__asm__ volatile("mov %%cr3, %0" : "=r"(value) : : "memory");
	return value;
}
CCORE_INLINE void ccore_xsetbv(uint64_t value)
{
	__asm__ volatile("xsetbv" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(0));
}
/* DR6 as the #DB left it; cleared for the next one (SDM vol. 3, 18.2.3). */
CCORE_INLINE uint64_t ccore_take_debug_status(void)
{
	uint64_t value, clear = 0xffff0ff0;
	__asm__ volatile("mov %%dr6, %0" : "=r"(value));
	__asm__ volatile("mov %0, %%dr6" : : "r"(clear));
	return value;
}
CCORE_INLINE uint64_t ccore_read_fs_base(void)
{
	uint64_t base;
	__asm__ volatile("rdfsbase %0" : "=r"(base));
	return base;
}
CCORE_INLINE uint64_t ccore_read_gs_base(void)
{
	uint64_t base;
	__asm__ volatile("rdgsbase %0" : "=r"(base));
	return base;
}
/* A base that is not canonical faults: the caller has checked it. */
CCORE_INLINE void ccore_write_fs_base(uint64_t base)
{
	__asm__ volatile("wrfsbase %0" : : "r"(base));
}
CCORE_INLINE void ccore_write_gs_base(uint64_t base)
{
	__asm__ volatile("wrgsbase %0" : : "r"(base));
}
CCORE_INLINE uint64_t ccore_read_efer(void)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000080));
	return (uint64_t)high << 32 | low;
}
CCORE_INLINE uint64_t ccore_read_cr0(void)
{
	uint64_t value;
	__asm__ volatile("mov %%cr0, %0" : "=r"(value));
	return value;
}
/* QEMU's and Bochs' debug console, port 0xe9: debug builds only. */
CCORE_INLINE void ccore_debug_byte(uint8_t byte)
{
	__asm__ volatile("outb %0, $0xe9" : : "a"(byte));
}
#endif

/* For planted bugs: pushes until the guard page ends it. */
CCORE_INLINE void ccore_overflow_stack(void)
{
	__asm__ volatile("1: push %%rax; jmp 1b" : : : "memory");
}

CCORE_INLINE void ccore_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *eax, uint32_t *ebx,
			      uint32_t *ecx, uint32_t *edx)
{
	__asm__ volatile("cpuid"
			 : "=a"(*eax), "=b"(*ebx), "=c"(*ecx), "=d"(*edx)
			 : "a"(leaf), "c"(subleaf));
}

#endif
