/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory SEED STEPS: random mmap, munmap, mprotect, mremap, madvise, stores, forks and system calls
 * on a window of the address space, beside a model of what every page of it must hold and
 * allow. Every page is compared word by word; the first wrong one ends the program.
 *
 * A page's content follows from its tag: tag 0 is zeroes, else each word is made of the tag and its
 * place, so that a page that stands at a wrong place or is torn is seen as well.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include "check.h"

#define PAGE 4096ul
#define WORDS (PAGE / sizeof(uint64_t))
/* More than one page table's reach, and not aligned to it. */
#define PAGES 700ul
#define LONGEST 64ul
#define WINDOW ((char *)0x20000ff000)

enum kind { ABSENT, PRIVATE, SHARED };

static struct page {
	uint64_t tag;
	enum kind kind;
	int protection;
} model[PAGES];

static uint64_t state, next_tag = 1, step, steps_done[16];

static char *address_of(uint64_t page)
{
	return WINDOW + page * PAGE;
}

static uint64_t word_of(uint64_t tag, uint64_t word)
{
	return tag == 0 ? 0 : (tag << 20 ^ word) * 0x9e3779b97f4a7c15;
}

/* ---- accesses that may fault ---- */

static sigjmp_buf after_fault;
static volatile uintptr_t fault_address;
static volatile int fault_code;

static void on_fault(int number, siginfo_t *information, void *context)
{
	(void)number, (void)context;
	fault_address = (uintptr_t)information->si_addr;
	fault_code = information->si_code;
	siglongjmp(after_fault, 1);
}

static void must_fault(uint64_t page, int is_store)
{
	volatile char *byte = address_of(page) + random_from(&state) % PAGE;

	if (sigsetjmp(after_fault, 1) == 0) {
		if (is_store)
			*byte = 1;
		else
			(void)*byte;
		fail("step %lu: a %s of page %lu (protection %d) did not fault", step, is_store ? "store" : "load", page,
		     model[page].protection);
	}
	if (fault_address / PAGE != (uintptr_t)address_of(page) / PAGE)
		fail("step %lu: a fault of page %lu was reported at %#lx", step, page, fault_address);
	if (fault_code != (model[page].kind == ABSENT ? SEGV_MAPERR : SEGV_ACCERR))
		fail("step %lu: a fault of page %lu was reported with code %d", step, page, fault_code);
}

/* ---- the model's checks ---- */

static void compare_page(uint64_t page)
{
	const volatile uint64_t *words = (const volatile uint64_t *)address_of(page);

	for (uint64_t word = 0; word < WORDS; word++)
		if (words[word] != word_of(model[page].tag, word))
			fail("step %lu: page %lu word %lu at %p holds %#lx instead of %#lx (tag %lu)", step, page, word,
			     (void *)&words[word], words[word], word_of(model[page].tag, word), model[page].tag);
}

static void check_page(uint64_t page)
{
	if (model[page].kind == ABSENT || !(model[page].protection & PROT_READ)) {
		must_fault(page, 0);
		return;
	}
	compare_page(page);
	if (!(model[page].protection & PROT_WRITE))
		must_fault(page, 1);
}

static void check_all(void)
{
	for (uint64_t page = 0; page < PAGES; page++)
		check_page(page);
}

static void fill_page(uint64_t page, uint64_t tag)
{
	uint64_t *words = (uint64_t *)address_of(page);

	for (uint64_t word = 0; word < WORDS; word++)
		words[word] = word_of(tag, word);
	model[page].tag = tag;
}

/* ---- steps, each on a run of pages ---- */

static int is_present(uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++)
		if (model[page].kind == ABSENT)
			return 0;
	return 1;
}

static void set(uint64_t first, uint64_t count, enum kind kind, int protection)
{
	for (uint64_t page = first; page < first + count; page++)
		model[page] = (struct page){ .kind = kind, .protection = protection };
}

static void map_pages(uint64_t first, uint64_t count)
{
	int is_shared = random_from(&state) % 4 == 0;
	int flags = MAP_ANONYMOUS | MAP_FIXED | (is_shared ? MAP_SHARED : MAP_PRIVATE);

	if (random_from(&state) % 4 == 0)
		flags |= MAP_POPULATE;
	MUST(mmap(address_of(first), count * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
	set(first, count, is_shared ? SHARED : PRIVATE, PROT_READ | PROT_WRITE);
}

static void unmap_pages(uint64_t first, uint64_t count)
{
	MUST(munmap(address_of(first), count * PAGE));
	set(first, count, ABSENT, PROT_NONE);
}

static void protect_pages(uint64_t first, uint64_t count)
{
	static const int kinds[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	int protection = kinds[random_from(&state) % 3];

	if (!is_present(first, count))
		return;
	MUST(mprotect(address_of(first), count * PAGE, protection));
	for (uint64_t page = first; page < first + count; page++)
		model[page].protection = protection;
}

static void store_pages(uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++)
		if (model[page].kind != ABSENT && model[page].protection & PROT_WRITE)
			fill_page(page, next_tag++);
}

/* Private memory is zeroes afterwards; what is shared stays. */
static void discard_pages(uint64_t first, uint64_t count)
{
	if (!is_present(first, count))
		return;
	MUST(madvise(address_of(first), count * PAGE, MADV_DONTNEED));
	for (uint64_t page = first; page < first + count; page++)
		if (model[page].kind == PRIVATE)
			model[page].tag = 0;
}

static int is_one_mapping(uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++)
		if (model[page].kind != PRIVATE || model[page].protection != model[first].protection)
			return 0;
	return 1;
}

/* To another place in the window, over what is there. */
static void move_pages(uint64_t first, uint64_t count)
{
	uint64_t target = random_from(&state) % (PAGES - count);
	void *moved;

	if ((target < first + count && first < target + count) || !is_one_mapping(first, count))
		return;
	moved = mremap(address_of(first), count * PAGE, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, address_of(target));
	if (moved == MAP_FAILED) {
		/* Neighbours that look alike may be two mappings to the kernel: it has emptied the target only. */
		HOLDS(errno == EFAULT);
		unmap_pages(target, count);
		return;
	}
	HOLDS(moved == address_of(target));
	memcpy(&model[target], &model[first], count * sizeof(model[0]));
	set(first, count, ABSENT, PROT_NONE);
}

/* The kernel's own loads and stores obey the same protections. */
static void pass_through_pipe(uint64_t first, uint64_t count)
{
	uint64_t copy[WORDS];
	int ends[2], may_read = model[first].kind != ABSENT && model[first].protection & PROT_READ;
	ssize_t written;

	(void)count;
	MUST(pipe(ends));
	written = write(ends[1], address_of(first), PAGE);
	if (may_read) {
		HOLDS(written == (ssize_t)PAGE);
		HOLDS(read(ends[0], copy, PAGE) == (ssize_t)PAGE);
		for (uint64_t word = 0; word < WORDS; word++)
			if (copy[word] != word_of(model[first].tag, word))
				fail("step %lu: the kernel read %#lx from page %lu word %lu", step, copy[word], first, word);
	} else if (written != -1 || errno != EFAULT) {
		fail("step %lu: write from page %lu, which may not be read, gave %ld", step, first, written);
	}
	close(ends[0]);
	close(ends[1]);
}

static void tell(int end)
{
	HOLDS(write(end, "x", 1) == 1);
}

static void hear(int end)
{
	char byte;

	HOLDS(read(end, &byte, 1) == 1);
}

/* Stores to a part of the private pages, which its relative must not see. */
static void store_some(uint64_t remainder)
{
	for (uint64_t page = 0; page < PAGES; page++)
		if (model[page].kind == PRIVATE && model[page].protection & PROT_WRITE && page % 5 == remainder)
			fill_page(page, next_tag++);
}

/* What a child stores to shared pages, its parent finds there. */
static void share_some(int is_child)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		if (model[page].kind != SHARED || !(model[page].protection & PROT_WRITE) || page % 5 != 3)
			continue;
		if (is_child)
			fill_page(page, (1ul << 40) + page);
		else
			model[page].tag = (1ul << 40) + page;
	}
}

/* Parent and child store to what they share on write, each before the other's eyes. */
static void fork_pages(uint64_t first, uint64_t count)
{
	int to_child[2], to_parent[2];
	pid_t child;

	(void)first, (void)count;
	MUST(pipe(to_child));
	MUST(pipe(to_parent));
	child = MUST(fork());
	if (child == 0) {
		next_tag += 1ul << 32;
		hear(to_child[0]);
		check_all();
		store_some(0);
		store_some(2);
		share_some(1);
		tell(to_parent[1]);
		hear(to_child[0]);
		check_all();
		exit(0);
	}
	store_some(1);
	tell(to_child[1]);
	hear(to_parent[0]);
	share_some(0);
	check_all();
	store_some(2);
	tell(to_child[1]);
	wait_for(child);
	check_all();
	for (int end = 0; end < 2; end++) {
		close(to_child[end]);
		close(to_parent[end]);
	}
}

static const struct {
	void (*run)(uint64_t first, uint64_t count);
	unsigned int weight;
} steps[] = {
	{ map_pages, 20 },    { unmap_pages, 8 }, { protect_pages, 20 },      { store_pages, 30 },
	{ discard_pages, 8 }, { move_pages, 12 }, { pass_through_pipe, 10 }, { fork_pages, 1 },
};

enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

static unsigned int choose(void)
{
	unsigned int total = 0, index, rest;

	for (index = 0; index < STEPS; index++)
		total += steps[index].weight;
	rest = (unsigned int)(random_from(&state) % total);
	for (index = 0; rest >= steps[index].weight; index++)
		rest -= steps[index].weight;
	return index;
}

int main(int count, char **arguments)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	uint64_t last = count == 3 ? strtoul(arguments[2], NULL, 0) : 2000;

	state = (count == 3 ? strtoul(arguments[1], NULL, 0) : 1) * 0x9e3779b97f4a7c15;
	MUST(sigaction(SIGSEGV, &action, NULL));
	for (step = 1; step <= last; step++) {
		uint64_t length = 1 + random_from(&state) % LONGEST, first = random_from(&state) % (PAGES - length);
		unsigned int index = choose();

		steps[index].run(first, length);
		steps_done[index]++;
		for (uint64_t page = first; page < first + length; page++)
			check_page(page);
	}
	check_all();
	for (unsigned int index = 0; index < STEPS; index++)
		HOLDS(last < 1000 || steps_done[index] > 0);
	printf("%lu steps\n", last);
	return 0;
}
