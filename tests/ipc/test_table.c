/* SPDX-License-Identifier: Apache-2.0 */
/* ipc/table.h and the layout in ipc/format.h: what readers find in a table written by hand. */
#define _GNU_SOURCE 1

#include "tests/support/support.h"

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
	uint64_t top = (1 + ring_pages) * PAGE, names = top + PAGE;
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
	uint32_t place = (uint32_t)(ipc_name_hash(name, entry->name_length) >> (64 - built->bits));
	while (built->places[place])
		place = (place + 1) & mask;
	built->places[place] = index + 1;
	built->top->dimension_count++;
}

static void test_hash_is_part_of_the_layout(void **state)
{
	(void)state;
	/* FNV-1a of "" is its offset basis, of "a" 0xaf63dc4c8601ec8c; times the odd constant. */
	REQUIRE(ipc_name_hash("", 0) == 0xcbf29ce484222325ull * 0x9e3779b97f4a7c15ull);
	REQUIRE(ipc_name_hash("a", 1) == 0xaf63dc4c8601ec8cull * 0x9e3779b97f4a7c15ull);
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

/* At half load, the most the manager allows, every name is found, and no other; probing goes round
 * the end. */
static void test_half_full(void **state)
{
	(void)state;
	uint64_t random = support_seed();
	for (int round = 0; round < 20; round++) {
		struct built built = build(9, 32, 11);
		char name[32];
		uint64_t salt = support_below(&random, 1u << 30);
		for (uint32_t i = 0; i < 1024; i++) {
			snprintf(name, sizeof name, "n%llu-%u", (unsigned long long)salt, i);
			add(&built, i, 1000 + i, name);
		}
		const struct ipc_top *top = ipc_table_top(built.table, 9);
		for (uint32_t i = 0; i < 2048; i++) {
			uint32_t index = 0;
			snprintf(name, sizeof name, "n%llu-%u", (unsigned long long)salt, i);
			const struct ipc_dimension *entry =
				ipc_table_find(built.table, top, name, strlen(name), &index);
			REQUIRE((entry != NULL) == (i < 1024));
			if (entry)
				REQUIRE(index == i && entry->id == 1000 + i);
		}
		free(built.base);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_is_part_of_the_layout),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_names_of_all_lengths),
		cmocka_unit_test(test_half_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
