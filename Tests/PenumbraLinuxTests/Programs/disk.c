/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a disk, or a file as if it were one, past the page cache (O_DIRECT), many requests at a time
 * by Linux' asynchronous I/O.
 *
 *   disk verify PATH SEED STEPS     random reads, writes, flushes and discards, against a model: the first
 *                                   sector that holds anything else than was written last ends it
 *   disk check PATH SEED STEPS      what the same `verify` left behind, read once more
 *   disk append PATH                writes numbered blocks for ever; says "acknowledged N" when N is durable
 *   disk appended PATH N            all blocks up to N are there
 *   disk bench PATH OPERATION DEPTH BYTES SECONDS   read, write (random places), or scan (sequential reads)
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define SECTOR 512ul
#define PAGE 4096ul
#define MAX_DEPTH 64
#define MAX_BYTES (256 * 1024ul)
/* What `verify` uses of a disk. */
#define MODEL_SECTORS (32 * 1024 * 1024 / SECTOR)

static uint64_t random_state;

static uint64_t random_number(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static uint64_t bytes_of(int disk)
{
	struct stat information;
	uint64_t bytes;

	MUST(fstat(disk, &information));
	if (!S_ISBLK(information.st_mode))
		return information.st_size;
	MUST(ioctl(disk, BLKGETSIZE64, &bytes));
	return bytes;
}

/* ---- asynchronous requests ---- */

struct slot {
	struct iocb request;
	char *buffer;
	uint64_t first, count; /* sectors in flight; count 0: free */
};

static aio_context_t context;
static struct slot slots[MAX_DEPTH];

static void prepare_slots(void)
{
	MUST(syscall(SYS_io_setup, MAX_DEPTH, &context));
	for (int i = 0; i < MAX_DEPTH; i++) {
		slots[i].buffer = mmap(NULL, MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		HOLDS(slots[i].buffer != MAP_FAILED);
	}
}

static void submit(struct slot *slot, int disk, int is_write, uint64_t first, uint64_t count)
{
	struct iocb *list[] = { &slot->request };

	slot->first = first;
	slot->count = count;
	slot->request = (struct iocb){
		.aio_data = (uint64_t)slot,
		.aio_lio_opcode = is_write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = disk,
		.aio_buf = (uint64_t)slot->buffer,
		.aio_nbytes = count * SECTOR,
		.aio_offset = first * SECTOR,
	};
	HOLDS(MUST(syscall(SYS_io_submit, context, 1, list)) == 1);
}

/* The next slot whose request is done. */
static struct slot *next_done(void)
{
	struct io_event event;
	struct slot *slot;

	HOLDS(MUST(syscall(SYS_io_getevents, context, 1, 1, &event, NULL)) == 1);
	slot = (struct slot *)event.data;
	if (event.res != (int64_t)(slot->count * SECTOR))
		fail("%s of %lu sectors at %lu: result %lld", slot->request.aio_lio_opcode == IOCB_CMD_PREAD ?
			"read" : "write", slot->count, slot->first, (long long)event.res);
	return slot;
}

/* ---- verify: each sector's generation is known; 0 is a sector of zeroes ---- */

static uint32_t *generations;
/* Sectors that were never written hold anything. */
#define UNKNOWN UINT32_MAX

static void fill(char *buffer, uint64_t sector, uint32_t generation)
{
	uint64_t *words = (uint64_t *)buffer;

	for (unsigned i = 0; i < SECTOR / 8; i++)
		words[i] = generation ? (sector << 32 | generation) * 0x9e3779b97f4a7c15 + i : 0;
}

static void check_sector(const char *buffer, uint64_t sector)
{
	char expected[SECTOR];

	if (generations[sector] == UNKNOWN)
		return;
	fill(expected, sector, generations[sector]);
	if (memcmp(buffer, expected, SECTOR))
		fail("sector %lu does not hold what write %u left there", sector, generations[sector]);
}

static void finish(struct slot *slot)
{
	if (slot->request.aio_lio_opcode == IOCB_CMD_PREAD)
		for (uint64_t i = 0; i < slot->count; i++)
			check_sector(slot->buffer + i * SECTOR, slot->first + i);
	slot->count = 0;
}

static int is_in_flight(uint64_t first, uint64_t count)
{
	for (int i = 0; i < MAX_DEPTH; i++)
		if (slots[i].count && first < slots[i].first + slots[i].count &&
		    slots[i].first < first + count)
			return 1;
	return 0;
}

static void begin(struct slot *slot, int disk, int is_write, uint64_t first, uint64_t count, uint32_t step)
{
	if (is_write)
		for (uint64_t i = 0; i < count; i++) {
			generations[first + i] = step;
			fill(slot->buffer + i * SECTOR, first + i, step);
		}
	else
		memset(slot->buffer, 0xa5, count * SECTOR);
	submit(slot, disk, is_write, first, count);
}

/* What they read as then is the disk's choice. */
static void discard(int disk, uint64_t first, uint64_t count)
{
	uint64_t range[] = { first * SECTOR, count * SECTOR };

	if (disk >= 0 && ioctl(disk, BLKDISCARD, range))
		HOLDS(errno == EOPNOTSUPP || errno == ENOTTY);
	for (uint64_t i = 0; i < count; i++)
		generations[first + i] = UNKNOWN;
}

static uint64_t open_model(int disk)
{
	uint64_t sectors = bytes_of(disk) / SECTOR;

	if (sectors > MODEL_SECTORS)
		sectors = MODEL_SECTORS;
	HOLDS(sectors * SECTOR >= 2 * MAX_BYTES);
	generations = malloc(sectors * sizeof(*generations));
	memset(generations, 0xff, sectors * sizeof(*generations));
	return sectors;
}

struct step {
	enum { READ, WRITE, FLUSH, DISCARD } kind;
	uint64_t first, count;
};

/* The next one of the sequence that the seed gives. */
static struct step next_step(uint64_t sectors)
{
	uint64_t number = random_number(100);
	uint64_t count = 1 + random_number(random_number(4) ? 16 : MAX_BYTES / SECTOR);
	uint64_t first = random_number(sectors - count);

	if (number < 48)
		return (struct step){ WRITE, first, count };
	if (number < 96)
		return (struct step){ READ, first, count };
	if (number < 98)
		return (struct step){ FLUSH, 0, 0 };
	/* In whole pages, as a disk may have it. */
	first = first / 8 * 8;
	return (struct step){ DISCARD, first, first + 64 <= sectors ? 64 : sectors - first };
}

/* What the steps leave behind, without a disk. */
static void model(uint64_t sectors, uint64_t seed, uint32_t steps)
{
	random_state = seed * 2 + 1;
	for (uint32_t number = 1; number <= steps; number++) {
		struct step step = next_step(sectors);

		if (step.kind == DISCARD)
			discard(-1, step.first, step.count);
		else if (step.kind == WRITE)
			for (uint64_t i = 0; i < step.count; i++)
				generations[step.first + i] = number;
	}
}

static struct slot *free_slot(void)
{
	for (int i = 0; i < MAX_DEPTH; i++)
		if (!slots[i].count)
			return &slots[i];
	fail("no slot is free");
}

/* The same on a disk, at depths from 1 to 64. */
static void verify(int disk, uint64_t sectors, uint64_t seed, uint32_t steps)
{
	int in_flight = 0, depth = 1;

	random_state = seed * 2 + 1;
	for (uint32_t number = 1; number <= steps; number++) {
		struct step step = next_step(sectors);

		if (number % 128 == 0)
			depth = 1 << (number / 128 % 7);
		while (in_flight >= depth || (in_flight && (step.kind == DISCARD || is_in_flight(step.first, step.count)))) {
			finish(next_done());
			in_flight--;
		}
		if (step.kind == DISCARD) {
			discard(disk, step.first, step.count);
		} else if (step.kind == FLUSH) {
			MUST(fdatasync(disk));
		} else {
			begin(free_slot(), disk, step.kind == WRITE, step.first, step.count, number);
			in_flight++;
		}
	}
	for (; in_flight; in_flight--)
		finish(next_done());
	MUST(fsync(disk));
}

/* Every sector whose content the model knows. */
static void check_all(int disk, uint64_t sectors)
{
	uint64_t step = MAX_BYTES / SECTOR, known = 0;
	char *buffer = slots[0].buffer;

	for (uint64_t first = 0; first < sectors; first += step) {
		uint64_t count = sectors - first < step ? sectors - first : step;

		HOLDS(MUST(pread(disk, buffer, count * SECTOR, first * SECTOR)) == (ssize_t)(count * SECTOR));
		for (uint64_t i = 0; i < count; i++) {
			known += generations[first + i] != UNKNOWN;
			check_sector(buffer + i * SECTOR, first + i);
		}
	}
	printf("%lu of %lu sectors are known, and right\n", known, sectors);
}

/* ---- append: what a crash must not lose ---- */

static void fill_block(uint64_t *block, uint64_t number)
{
	for (unsigned i = 0; i < PAGE / 8; i++)
		block[i] = number * 0x9e3779b97f4a7c15 + i;
}

static void append(int disk)
{
	static uint64_t block[PAGE / 8] __attribute__((aligned(PAGE)));
	uint64_t blocks = bytes_of(disk) / PAGE;

	for (uint64_t number = 1; number < blocks; number++) {
		fill_block(block, number);
		HOLDS(MUST(pwrite(disk, block, PAGE, number * PAGE)) == PAGE);
		MUST(fdatasync(disk));
		printf("acknowledged %lu\n", number);
		fflush(stdout);
	}
	printf("full\n");
}

static void check_appended(int disk, uint64_t last)
{
	static uint64_t block[PAGE / 8] __attribute__((aligned(PAGE))), expected[PAGE / 8];

	for (uint64_t number = 1; number <= last; number++) {
		HOLDS(MUST(pread(disk, block, PAGE, number * PAGE)) == PAGE);
		fill_block(expected, number);
		if (memcmp(block, expected, PAGE))
			fail("block %lu was acknowledged and is lost", number);
	}
	printf("%lu blocks are there\n", last);
}

/* ---- bench ---- */

static void bench(int disk, const char *operation, int depth, uint64_t bytes, double seconds)
{
	uint64_t places = bytes_of(disk) / bytes, done = 0, next = 0;
	int is_write = !strcmp(operation, "write"), is_scan = !strcmp(operation, "scan");
	double start = now();

	HOLDS(depth >= 1 && depth <= MAX_DEPTH && bytes <= MAX_BYTES && bytes % SECTOR == 0 && places > 0);
	random_state = 88172645463325252;
	for (int in_flight = 0;;) {
		struct slot *slot = in_flight < depth ? &slots[in_flight++] : next_done();
		uint64_t place = is_scan ? next++ % places : random_number(places);

		if (in_flight == depth && ++done % 64 == 0 && now() - start >= seconds)
			break;
		submit(slot, disk, is_write, place * bytes / SECTOR, bytes / SECTOR);
	}
	printf("%s depth %d: %.0f requests/s, %.1f MiB/s\n", operation, depth, done / (now() - start),
	       done * bytes / (now() - start) / 1048576);
}

int main(int count, char **words)
{
	const char *verb = count > 2 ? words[1] : "";
	int disk;

	if (!*verb)
		fail("usage: disk VERB PATH ...");
	/* A file system without O_DIRECT (tmpfs) is used through its memory. */
	disk = open(words[2], O_RDWR | O_DIRECT);
	if (disk < 0)
		disk = MUST(open(words[2], O_RDWR));
	prepare_slots();
	if ((!strcmp(verb, "verify") || !strcmp(verb, "check")) && count == 5) {
		uint64_t sectors = open_model(disk), seed = strtoull(words[3], NULL, 10);
		uint32_t steps = strtoul(words[4], NULL, 10);

		if (!strcmp(verb, "verify"))
			verify(disk, sectors, seed, steps);
		else
			model(sectors, seed, steps);
		check_all(disk, sectors);
	} else if (!strcmp(verb, "append") && count == 3) {
		append(disk);
	} else if (!strcmp(verb, "appended") && count == 4) {
		check_appended(disk, strtoull(words[3], NULL, 10));
	} else if (!strcmp(verb, "bench") && count == 7) {
		bench(disk, words[3], atoi(words[4]), strtoull(words[5], NULL, 10), atof(words[6]));
	} else {
		fail("no such use: %s", verb);
	}
	return 0;
}
