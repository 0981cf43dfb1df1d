/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc/slot.h: the set of versions against a model, the scan of hostile bytes, and the promise itself:
 * a block is not reused while a section or a hold sees a version from which it can be reached. In the
 * races below blocks are filled with their version and overwritten as soon as the scan lets them go.
 */
#define _GNU_SOURCE 1

#include "tests/support/support.h"

#include <pthread.h>
#include <sys/mman.h>

#include "ipc/slot.h"
#include "pool/os.h"

/* --- Sets of versions -------------------------------------------------------------------------- */

static void test_seen_model(void **state)
{
	(void)state;
	uint64_t random = support_seed();
	for (int round = 0; round < 300; round++) {
		struct ipc_seen seen = {0};
		bool there[64] = {false};
		uint64_t count = support_below(&random, 40);
		for (uint64_t i = 0; i < count; i++) {
			uint64_t version = 1 + support_below(&random, 62);
			there[version] = true;
			REQUIRE_EQUAL(ipc_seen_add(&seen, version), 0);
		}
		ipc_seen_sort(&seen);
		for (size_t i = 1; i < seen.count; i++)
			REQUIRE(seen.versions[i - 1] < seen.versions[i]);
		for (uint64_t born = 0; born < 64; born++) {
			for (uint64_t retired = born; retired < 64; retired++) {
				bool any = false;
				for (uint64_t v = born; v < retired; v++)
					any |= there[v];
				REQUIRE_EQUAL(ipc_seen_any(&seen, born, retired), any);
			}
		}
		ipc_seen_free(&seen);
		REQUIRE(seen.versions == NULL && seen.count == 0);
	}
}

static void test_seen_extremes(void **state)
{
	(void)state;
	struct ipc_seen seen = {0};
	REQUIRE(!ipc_seen_any(&seen, 0, UINT64_MAX));
	ipc_seen_sort(&seen);
	REQUIRE_EQUAL(ipc_seen_add(&seen, UINT64_MAX), 0);
	REQUIRE_EQUAL(ipc_seen_add(&seen, 1), 0);
	ipc_seen_sort(&seen);
	REQUIRE(!ipc_seen_any(&seen, 2, UINT64_MAX)); /* retired is not in the interval */
	REQUIRE(ipc_seen_any(&seen, 1, 2));
	REQUIRE(!ipc_seen_any(&seen, 1, 1));
	REQUIRE(!ipc_seen_any(&seen, 0, 1));
	ipc_seen_free(&seen);
}

/* --- Scanning hostile bytes -------------------------------------------------------------------- */

/* A segment whose end is followed by a page that must not be touched. */
static struct ipc_segment *make_segment(uint32_t slots, uint32_t holds, size_t *ret_bytes)
{
	size_t bytes = ipc_segment_bytes(slots, holds);
	char *base = mmap(
		NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(base != MAP_FAILED);
	REQUIRE_EQUAL(mprotect(base + bytes, 4096, PROT_NONE), 0);
	*ret_bytes = bytes + 4096;
	return (void *)base;
}

static struct ipc_slot *slots_of(struct ipc_segment *segment)
{
	return (void *)((char *)segment + ipc_slots_offset());
}

static struct ipc_hold *holds_of(struct ipc_segment *segment, uint32_t slots)
{
	return (void *)((char *)segment + ipc_holds_offset(slots));
}

static int count_holds(void *context, const struct ipc_held *held)
{
	size_t *count = context;
	REQUIRE(held->dimension != 0);
	++*count;
	return 0;
}

static int stop_at_third(void *context, const struct ipc_held *held)
{
	size_t *count = context;
	(void)held;
	return ++*count == 3 ? -7 : 0;
}

static void test_scan_finds_all(void **state)
{
	(void)state;
	size_t bytes, found = 0;
	struct ipc_segment *segment = make_segment(5, 7, &bytes);
	struct ipc_seen seen = {0};
	slots_of(segment)[0].word = 30;
	slots_of(segment)[2].word = 10;
	slots_of(segment)[4].word = 20;
	segment->slots_used = 5;
	REQUIRE_EQUAL(ipc_scan_slots(segment, 5, &seen), 0);
	ipc_seen_sort(&seen);
	REQUIRE_EQUAL(seen.count, 3);
	REQUIRE_EQUAL(seen.versions[0], 10);
	/* What was never used is not looked at. */
	seen.count = 0;
	segment->slots_used = 4;
	REQUIRE_EQUAL(ipc_scan_slots(segment, 5, &seen), 0);
	REQUIRE_EQUAL(seen.count, 2);
	ipc_seen_free(&seen);
	for (uint32_t i = 0; i < 7; i++)
		ipc_hold_store(&holds_of(segment, 5)[i], 1 + i, 100 + i);
	ipc_hold_clear(&holds_of(segment, 5)[3]);
	segment->holds_used = 7;
	REQUIRE_EQUAL(ipc_scan_holds(segment, 5, 7, count_holds, &found), 0);
	REQUIRE_EQUAL(found, 6);
	found = 0;
	REQUIRE_EQUAL(ipc_scan_holds(segment, 5, 7, stop_at_third, &found), -7);
	REQUIRE_EQUAL(found, 3);
	munmap(segment, bytes);
}

static void test_scan_is_bounded(void **state)
{
	(void)state;
	uint64_t random = support_seed();
	for (int round = 0; round < 200; round++) {
		uint32_t slots = 1 + (uint32_t)support_below(&random, 64);
		uint32_t holds = 1 + (uint32_t)support_below(&random, 300);
		size_t bytes, found = 0;
		struct ipc_segment *segment = make_segment(slots, holds, &bytes);
		uint64_t *words = (void *)segment;
		for (size_t i = 0; i < (bytes - 4096) / sizeof *words; i++)
			words[i] = support_random(&random);
		/* The reader's own idea of its capacity counts for nothing. */
		struct ipc_seen seen = {0};
		REQUIRE_EQUAL(ipc_scan_slots(segment, slots, &seen), 0);
		REQUIRE(seen.count <= slots);
		REQUIRE_EQUAL(ipc_scan_holds(segment, slots, holds, count_holds, &found), 0);
		REQUIRE(found <= holds);
		ipc_seen_free(&seen);
		munmap(segment, bytes);
	}
}

/* --- The promise, with threads ------------------------------------------------------------------ */

#define BLOCKS  64u
#define WORDS   32u
#define READERS 3u
#define RING    256u

struct block {
	uint64_t words[WORDS]; /* all the version that reaches it */
	uint64_t born, retired;
	bool used;
};

struct race {
	struct ipc_table *table;
	struct ipc_segment *segment;
	size_t segment_bytes;
	bool membarrier;
	uint32_t ring[RING]; /* version -> block */
	struct {
		uint64_t version, retired;
		bool busy; /* somebody may see the version there */
	} entries[RING];
	struct block blocks[BLOCKS];
	bool stop;      /* atomic */
	uint64_t wrong; /* atomic */
	uint64_t looks; /* atomic */
	uint64_t reused;
};

struct racer {
	struct race *race;
	uint32_t index;
	bool holds;
};

static void look_at(struct race *race, uint64_t version)
{
	const struct block *block = &race->blocks[race->ring[version % RING]];
	for (uint32_t i = 0; i < WORDS; i++)
		if (block->words[i] != version)
			__atomic_fetch_add(&race->wrong, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&race->looks, 1, __ATOMIC_RELAXED);
}

static void *read_sections(void *argument)
{
	struct racer *racer = argument;
	struct race *race = racer->race;
	struct ipc_slot *slot = &slots_of(race->segment)[racer->index];
	struct ipc_hold *hold = &holds_of(race->segment, READERS)[racer->index];
	while (!__atomic_load_n(&race->stop, __ATOMIC_ACQUIRE)) {
		uint64_t version = ipc_section_enter(race->table, slot, race->membarrier);
		uint32_t block = race->ring[version % RING];
		look_at(race, version);
		if (racer->holds) {
			ipc_hold_store(hold, 1, version);
			ipc_section_exit(slot);
			for (uint32_t i = 0; i < WORDS; i++)
				if (race->blocks[block].words[i] != version)
					__atomic_fetch_add(&race->wrong, 1, __ATOMIC_RELAXED);
			ipc_hold_clear(hold);
		} else {
			ipc_section_exit(slot);
		}
	}
	return NULL;
}

struct scan {
	struct ipc_seen sections;
	struct ipc_held held[READERS];
	size_t holds;
};

static int add_held(void *context, const struct ipc_held *held)
{
	struct scan *scan = context;
	scan->held[scan->holds++] = *held;
	return 0;
}

static bool seen(const struct scan *scan, const struct block *block)
{
	if (ipc_seen_any(&scan->sections, block->born, block->retired))
		return true;
	for (size_t i = 0; i < scan->holds; i++)
		if (scan->held[i].version >= block->born && scan->held[i].version < block->retired)
			return true;
	return false;
}

/* M2 to M6. */
static void reclaim(struct race *race, struct scan *scan)
{
	uint64_t current = race->table->current;
	scan->sections.count = 0;
	scan->holds = 0;
	REQUIRE_EQUAL(ipc_manager_barrier(race->membarrier), 0);
	REQUIRE_EQUAL(ipc_scan_slots(race->segment, READERS, &scan->sections), 0);
	REQUIRE_EQUAL(ipc_scan_holds(race->segment, READERS, READERS, add_held, scan), 0);
	ipc_seen_sort(&scan->sections);
	for (uint32_t i = 0; i < RING; i++)
		if (race->entries[i].busy && race->entries[i].retired &&
			race->entries[i].retired <= current &&
			!ipc_seen_any(&scan->sections, race->entries[i].version,
				race->entries[i].retired))
			race->entries[i].busy = false;
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct block *block = &race->blocks[i];
		if (!block->used || !block->retired || block->retired > current ||
			seen(scan, block))
			continue;
		for (uint32_t w = 0; w < WORDS; w++)
			block->words[w] = UINT64_MAX;
		block->used = false;
		race->reused++;
	}
}

/* The next version whose ring entry nobody sees, or 0. */
static uint64_t next_version(const struct race *race, uint64_t version)
{
	for (uint64_t next = version + 1; next < version + RING; next++)
		if (!race->entries[next % RING].busy)
			return next;
	return 0;
}

static uint32_t free_block(const struct race *race)
{
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (!race->blocks[i].used)
			return i;
	return BLOCKS;
}

static void publish(struct race *race, uint64_t version, uint32_t index, uint64_t old_version)
{
	struct block *block = &race->blocks[index];
	*block = (struct block){.born = version, .used = true};
	for (uint32_t i = 0; i < WORDS; i++)
		block->words[i] = version;
	race->ring[version % RING] = index;
	race->entries[version % RING].version = version;
	race->entries[version % RING].retired = 0;
	race->entries[version % RING].busy = true;
	ipc_publish(race->table, version);
	if (old_version) {
		race->blocks[race->ring[old_version % RING]].retired = version;
		race->entries[old_version % RING].retired = version;
	}
}

static void run_race(bool membarrier, bool holds)
{
	static struct race race;
	struct racer racers[READERS];
	pthread_t threads[READERS];
	struct scan scan = {0};
	race = (struct race){.membarrier = membarrier};
	race.table = aligned_alloc(4096, sizeof *race.table);
	race.segment = make_segment(READERS, READERS, &race.segment_bytes);
	race.segment->slots_used = race.segment->holds_used = READERS;
	memset(race.table, 0, sizeof *race.table);
	publish(&race, 1, 0, 0);
	for (uint32_t i = 0; i < READERS; i++) {
		racers[i] = (struct racer){&race, i, holds};
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, read_sections, &racers[i]), 0);
	}
	uint64_t version = 1, until = support_now_ms() + (SUPPORT_RACE_BUILD ? 1500 : 700);
	while (support_now_ms() < until || __atomic_load_n(&race.looks, __ATOMIC_RELAXED) < 1000 ||
		race.reused < 1000) {
		uint32_t block = free_block(&race);
		uint64_t next = next_version(&race, version);
		if (block < BLOCKS && next) {
			publish(&race, next, block, version);
			version = next;
		}
		reclaim(&race, &scan);
	}
	__atomic_store_n(&race.stop, true, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	REQUIRE_EQUAL(race.wrong, 0);
	/* Nobody looks any more: all but the current one come back. */
	reclaim(&race, &scan);
	unsigned used = 0;
	for (uint32_t i = 0; i < BLOCKS; i++)
		used += race.blocks[i].used;
	REQUIRE_EQUAL(used, 1);
	ipc_seen_free(&scan.sections);
	munmap(race.segment, race.segment_bytes);
	free(race.table);
}

static void test_sections_fence(void **state)
{
	(void)state;
	run_race(false, false);
}

static void test_holds_fence(void **state)
{
	(void)state;
	run_race(false, true);
}

static void test_sections_membarrier(void **state)
{
	(void)state;
	if (!os_membarrier_usable()) {
		support_tell_skip("membarrier", "this kernel has no membarrier(2)");
		skip();
	}
	REQUIRE_EQUAL(os_membarrier_register(), 0);
	run_race(true, false);
	run_race(true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seen_model),
		cmocka_unit_test(test_seen_extremes),
		cmocka_unit_test(test_scan_finds_all),
		cmocka_unit_test(test_scan_is_bounded),
		cmocka_unit_test(test_sections_fence),
		cmocka_unit_test(test_holds_fence),
		cmocka_unit_test(test_sections_membarrier),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
