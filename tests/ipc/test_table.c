/* SPDX-License-Identifier: Apache-2.0 */
/* ipc/table.h and the layout in ipc/format.h: what readers find in a table written by hand. */
#define _GNU_SOURCE 1

#include "tests/support/support.h"

#include <sys/mman.h>

#include "ipc/slot.h"
#include "ipc/table.h"

#define PAGE 4096u

struct built {
	char *base;
	struct ipc_table *table;
	struct ipc_top *top;
	struct ipc_dimension *leaves;
	uint32_t *places;
	uint32_t bits, leaf_count;
};

/* One version whose parts stand in this order: header, ring, top, names, leaves. */
static struct built build(uint64_t version, uint32_t leaf_count, uint32_t bits)
{
	uint64_t ring_pages = IPC_RING_ENTRIES * sizeof(struct ipc_ring_entry) / PAGE;
	uint64_t top_bytes = sizeof(struct ipc_top) + leaf_count * sizeof(uint64_t);
	uint64_t top = (1 + ring_pages) * PAGE;
	uint64_t names = top + (top_bytes + PAGE - 1) / PAGE * PAGE;
	uint64_t names_bytes = sizeof(struct ipc_names) + (sizeof(uint32_t) << bits);
	uint64_t leaves = (names + names_bytes + PAGE - 1) / PAGE * PAGE;
	uint64_t bytes = leaves + (uint64_t)leaf_count * PAGE;
	struct built built = {.bits = bits, .leaf_count = leaf_count};
	built.base = aligned_alloc(PAGE, bytes);
	REQUIRE(built.base);
	memset(built.base, 0, bytes);
	built.table = (void *)built.base;
	built.table->ring_offset = PAGE;
	built.table->ring_entries = IPC_RING_ENTRIES;
	built.table->table_bytes = bytes;
	built.table->max_dimensions = leaf_count * IPC_LEAF_ENTRIES;
	built.table->current = version;
	struct ipc_ring_entry *ring = (void *)(built.base + PAGE);
	ring[version % IPC_RING_ENTRIES] = (struct ipc_ring_entry){version, top};
	built.top = (void *)(built.base + top);
	*built.top = (struct ipc_top){
		.version = version, .names_offset = names, .leaf_count = leaf_count};
	uint64_t *offsets = (void *)(built.top + 1);
	for (uint32_t i = 0; i < leaf_count; i++)
		offsets[i] = leaves + (uint64_t)i * PAGE;
	*(struct ipc_names *)(built.base + names) = (struct ipc_names){.bits = bits};
	built.places = (void *)(built.base + names + sizeof(struct ipc_names));
	built.leaves = (void *)(built.base + leaves);
	return built;
}

static void add(struct built *built, uint32_t index, uint64_t id, const char *name)
{
	struct ipc_dimension *entry = &built->leaves[index];
	*entry = (struct ipc_dimension){.id = id, .kind = 1, .name_length = (uint32_t)strlen(name)};
	memcpy(entry->name, name, entry->name_length);
	uint32_t mask = (1u << built->bits) - 1;
	uint64_t hash = ipc_name_hash(name, entry->name_length);
	uint32_t place = ipc_name_place(hash, built->bits);
	while (built->places[place])
		place = (place + 1) & mask;
	built->places[place] = ipc_place_of(hash, built->bits, index);
	built->top->dimension_count++;
}

/* Computed by hand from the definition in docs/format.md, one for each way a word is put together. */
static void test_hash_is_part_of_the_layout(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		uint64_t hash;
	} known[] = {
		{"", 0x8000000000000000ull},
		{"a", 0x2201637d9d316b6cull},
		{"abc", 0x95dbc0fac6d280f4ull},
		{"abcd", 0xd9cc2b2aa2000c6cull},
		{"dimension", 0x001665f79a6a30b5ull},
		{"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
			0x48c7825a8d065f35ull},
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		REQUIRE(ipc_name_hash(known[i].name, strlen(known[i].name)) == known[i].hash);
	/* The place is the highest bits, the tag the next 16, never 0. */
	REQUIRE_EQUAL(ipc_name_place(0xabcd123400000000ull, 16), 0xabcd);
	REQUIRE_EQUAL(ipc_name_tag(0xabcd123400000000ull, 16), 0x1234);
	REQUIRE_EQUAL(ipc_name_tag(0xabcd0000ffffffffull, 16), 1);
	REQUIRE_EQUAL(ipc_place_of(0xabcd123400000000ull, 16, 0xffff), 0x1234ffff);
}

/* Words are put together from exactly the name's bytes, wherever it ends. */
static void test_words_of_names(void **state)
{
	(void)state;
	uint64_t random = support_seed();
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(pages != MAP_FAILED);
	REQUIRE_EQUAL(mprotect(pages + 4096, 4096, PROT_NONE), 0);
	for (int round = 0; round < 2000; round++) {
		size_t length = 1 + support_below(&random, 8);
		char *name = round % 2 ? pages + 4096 - length : pages;
		unsigned char padded[8] = {0};
		uint64_t expected;
		for (size_t i = 0; i < length; i++)
			padded[i] = (unsigned char)(name[i] = (char)support_below(&random, 256));
		memcpy(&expected, padded, sizeof expected);
		REQUIRE(ipc_name_word(name, length) == expected);
	}
	munmap(pages, 8192);
}

static void test_sizes(void **state)
{
	(void)state;
	REQUIRE_EQUAL(ipc_slots_offset(), 4096);
	REQUIRE_EQUAL(ipc_holds_offset(2), 4096 + 128);
	REQUIRE_EQUAL(ipc_segment_bytes(2, 1), 8192);
	REQUIRE_EQUAL(ipc_segment_bytes(64, 0), 8192);
	REQUIRE_EQUAL(ipc_segment_bytes(64, 1), 12288);
	REQUIRE_EQUAL(ipc_segment_bytes(IPC_MAX_SLOTS + 1, IPC_MAX_HOLDS),
		4096 + ((IPC_MAX_SLOTS + 1) * 64 + IPC_MAX_HOLDS * 16 + 4095) / 4096 * 4096);
}

static void test_empty(void **state)
{
	(void)state;
	uint32_t index = 77;
	struct built built = build(1, 0, 6);
	const struct ipc_top *top = ipc_table_top(built.table, 1);
	REQUIRE(top == built.top);
	REQUIRE(ipc_table_at(built.table, top, 0) == NULL);
	REQUIRE(ipc_table_find(built.table, top, "a", 1, &index) == NULL);
	REQUIRE_EQUAL(index, 77);
	free(built.base);
}

static void test_names_of_all_lengths(void **state)
{
	(void)state;
	struct built built = build(4096 * 3 + 5, 3, 8);
	char name[RGM_NAME_MAX + 2];
	for (uint32_t length = 1; length <= RGM_NAME_MAX; length++) {
		memset(name, 'x', length);
		name[length] = 0;
		add(&built, length + 10, length, name);
	}
	const struct ipc_top *top = ipc_table_top(built.table, 4096 * 3 + 5);
	for (uint32_t length = 1; length <= RGM_NAME_MAX + 1; length++) {
		uint32_t index = 0;
		memset(name, 'x', length);
		const struct ipc_dimension *entry =
			ipc_table_find(built.table, top, name, length, &index);
		REQUIRE((entry != NULL) == (length <= RGM_NAME_MAX));
		if (entry)
			REQUIRE(entry->id == length && index == length + 10);
	}
	REQUIRE(ipc_table_at(built.table, top, 95) != NULL);
	REQUIRE(ipc_table_at(built.table, top, 96) == NULL);
	REQUIRE(ipc_table_at(built.table, top, UINT32_MAX) == NULL);
	free(built.base);
}

/* Up to half load, twice what the manager allows, every name is found, and no other; probing goes round
 * the end. */
static void test_half_full(void **state)
{
	(void)state;
	uint64_t random = support_seed();
	for (int round = 0; round < 20; round++) {
		struct built built = build(9, 32, round % 2 ? 11 : 12);
		char name[32];
		uint64_t salt = support_below(&random, 1u << 30);
		for (uint32_t i = 0; i < 1024; i++) {
			snprintf(name, sizeof name, "n%llu-%u", (unsigned long long)salt, i);
			add(&built, i, 1000 + i, name);
		}
		struct ipc_index seen = ipc_index_open(built.table, 9);
		REQUIRE_EQUAL(seen.dimension_count, 1024);
		for (uint32_t i = 0; i < 2048; i++) {
			uint32_t index = 0;
			snprintf(name, sizeof name, "n%llu-%u", (unsigned long long)salt, i);
			const struct ipc_dimension *entry =
				ipc_index_find(&seen, name, strlen(name), &index);
			REQUIRE((entry != NULL) == (i < 1024));
			if (entry)
				REQUIRE(index == i && entry->id == 1000 + i &&
					entry == ipc_index_at(&seen, i));
		}
		free(built.base);
	}
}

/* Names that share place and tag are told apart by their bytes; so is one that is not there. */
static void test_collisions(void **state)
{
	(void)state;
	static char names[30000][24];
	static uint32_t first[1u << 22]; /* by place and tag: a name's number + 1 */
	uint64_t random = support_seed();
	uint64_t salt = support_below(&random, 1u << 30);
	unsigned pairs = 0;
	memset(first, 0, sizeof first);
	struct built built = build(3, 32, 6);
	for (uint32_t i = 0; i < 30000; i++) {
		snprintf(names[i], sizeof names[i], "n%llu-%u", (unsigned long long)salt, i);
		uint64_t hash = ipc_name_hash(names[i], strlen(names[i]));
		uint32_t *place = &first[hash >> 42];
		if (!*place) {
			*place = i + 1;
			continue;
		}
		const char *other = names[*place - 1];
		uint32_t index = 0;
		memset(built.places, 0, sizeof(uint32_t) << 6);
		add(&built, 0, 1, other);
		struct ipc_index seen = ipc_index_open(built.table, 3);
		REQUIRE(ipc_index_find(&seen, names[i], strlen(names[i]), &index) == NULL);
		add(&built, 900, 2, names[i]);
		REQUIRE(ipc_index_find(&seen, names[i], strlen(names[i]), &index)->id == 2);
		REQUIRE_EQUAL(index, 900);
		REQUIRE(ipc_index_find(&seen, other, strlen(other), &index)->id == 1);
		REQUIRE_EQUAL(index, 0);
		pairs++;
	}
	REQUIRE(pairs > 10);
	free(built.base);
}

/* The largest table: index 65,535, and the names' block as large as it gets. */
static void test_largest(void **state)
{
	(void)state;
	struct built built = build(4095, IPC_MAX_DIMENSIONS / IPC_LEAF_ENTRIES, IPC_NAMES_BITS_MAX);
	char name[32];
	for (uint32_t i = 0; i < IPC_MAX_DIMENSIONS; i++) {
		snprintf(name, sizeof name, "dimension-%u", i);
		add(&built, i, i + 1, name);
	}
	struct ipc_index seen = ipc_index_open(built.table, 4095);
	for (uint32_t i = 0; i < IPC_MAX_DIMENSIONS; i++) {
		uint32_t index = 0;
		snprintf(name, sizeof name, "dimension-%u", i);
		REQUIRE(ipc_index_find(&seen, name, strlen(name), &index)->id == i + 1);
		REQUIRE_EQUAL(index, i);
	}
	REQUIRE(ipc_index_at(&seen, IPC_MAX_DIMENSIONS) == NULL);
	free(built.base);
}

/* What is asked for may be anything: longer than a name, empty, bytes that no name has. */
static void test_hostile_names(void **state)
{
	(void)state;
	uint64_t random = support_seed();
	struct built built = build(7, 3, 8);
	char name[RGM_NAME_MAX + 8];
	uint32_t index = 0;
	memset(name, 'n', sizeof name);
	for (uint32_t length = 1; length <= RGM_NAME_MAX; length++) {
		name[length] = 0;
		add(&built, length, length, name);
		name[length] = 'n';
	}
	struct ipc_index seen = ipc_index_open(built.table, 7);
	for (int round = 0; round < 20000; round++) {
		size_t length = support_below(&random, sizeof name + 1);
		for (size_t i = 0; i < sizeof name; i++)
			name[i] = (char)(round % 3 ? 'n' : (int)support_below(&random, 256));
		if (length && round % 3 == 1)
			name[support_below(&random, length)] ^= 1;
		const struct ipc_dimension *entry = ipc_index_find(&seen, name, length, &index);
		bool there = round % 3 == 2 && length >= 1 && length <= RGM_NAME_MAX;
		if (round % 3)
			REQUIRE((entry != NULL) == there);
		if (entry)
			REQUIRE(entry->id == length && memcmp(entry->name, name, length) == 0);
	}
	REQUIRE(ipc_index_find(&seen, name, SIZE_MAX, &index) == NULL);
	REQUIRE(ipc_index_find(&seen, "", 0, &index) == NULL);
	free(built.base);
}

/* --- Blocks that are something else meanwhile --------------------------------------------------- */

static void spoil(char *bytes, size_t count, unsigned way, uint64_t *random)
{
	uint64_t *words = (void *)bytes;
	switch (way) {
	case 0:
		memset(bytes, 0xff, count);
		return;
	case 1:
		for (size_t i = 0; i < count / sizeof *words; i++)
			words[i] = support_random(random);
		return;
	case 2: /* numbers as they stand in blocks: small, and multiples of a page */
		for (size_t i = 0; i < count / sizeof *words; i++)
			words[i] =
				support_below(random, 2)
					? support_below(random, 1u << support_below(random, 24)) *
						  PAGE
					: support_below(random, 64);
		return;
	default:
		for (int n = 0; n < 64; n++)
			words[support_below(random, count / sizeof *words)] =
				support_below(random, 2)
					? support_random(random)
					: support_below(random, 1u << support_below(random, 30));
	}
}

/* A reader whose version was taken back finds anything, but nothing outside the table. */
static void test_hostile_blocks(void **state)
{
	(void)state;
	uint64_t random = support_seed();
	struct built built = build(5, 4, 8);
	size_t bytes = built.table->table_bytes, front = PAGE;
	char *area = mmap(
		NULL, bytes + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(area != MAP_FAILED);
	REQUIRE_EQUAL(mprotect(area, PAGE, PROT_NONE), 0);
	REQUIRE_EQUAL(mprotect(area + PAGE + bytes, PAGE, PROT_NONE), 0);
	char name[16], *copy = area + PAGE;
	for (uint32_t i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "n%u", i);
		add(&built, i, i + 1, name);
	}
	/* The ring is the reader's way in: with it, or with it as it was. */
	size_t blocks = PAGE + IPC_RING_ENTRIES * sizeof(struct ipc_ring_entry);
	uint64_t found = 0;
	for (unsigned round = 0; round < 3000; round++) {
		memcpy(copy, built.base, bytes);
		front = round % 8 == 7 ? PAGE : blocks;
		spoil(copy + front, bytes - front, round % 4, &random);
		struct ipc_index seen = ipc_index_open((const void *)copy, 5);
		for (uint32_t i = 0; i < 100; i++) {
			uint32_t index = 0;
			snprintf(name, sizeof name, "n%u", i);
			const struct ipc_dimension *entry =
				ipc_index_find(&seen, name, strlen(name), &index);
			if (!entry)
				continue;
			REQUIRE(index < built.table->max_dimensions);
			found += entry->id; /* readable */
		}
		for (uint32_t i = 0; i < 200; i++) {
			const struct ipc_dimension *entry = ipc_index_at(&seen, i);
			REQUIRE(i < built.table->max_dimensions || !entry);
			if (!entry)
				continue;
			REQUIRE((const char *)entry >= copy &&
				(const char *)(entry + 1) <= copy + bytes);
			found += entry->changed;
		}
	}
	REQUIRE(found != 0);
	munmap(area, bytes + 2 * PAGE);
	free(built.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_is_part_of_the_layout),
		cmocka_unit_test(test_words_of_names),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_names_of_all_lengths),
		cmocka_unit_test(test_half_full),
		cmocka_unit_test(test_collisions),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_hostile_blocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
