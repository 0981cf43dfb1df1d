/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regionmgr/manager/table.c: each version is what the changes made of the one before, a pinned one
 * stands still, drafts that are discarded cost nothing, and version numbers skip what is seen.
 */
#define _GNU_SOURCE 1

#include "tests/manager/bare.h"

#include <errno.h>

#include "regionmgr/manager/takeover.h"

#include <sys/stat.h>

#define MODEL 200u
/* How much the object may grow, in blocks of 512 bytes, while reclaim gets no turn: two pages a version
 * until the ring is full, when the commit scans itself; and what is allocated ahead. */
#define GROWTH (2 * IPC_RING_ENTRIES * 8 + 4 * 4096)

struct model {
	struct ipc_dimension entries[MODEL];
	uint64_t next_id;
};

static uint64_t shm_blocks(const struct rgm_manager *manager)
{
	int file;
	struct stat status;
	REQUIRE_EQUAL(table_open_reader(manager->table, &file), 0);
	REQUIRE_EQUAL(fstat(file, &status), 0);
	close(file);
	return (uint64_t)status.st_blocks;
}

static struct ipc_dimension entry_of(uint64_t id, const char *name)
{
	struct ipc_dimension entry = {
		.id = id, .kind = RGM_KIND_LAYERS, .name_length = (uint32_t)strlen(name)};
	memcpy(entry.name, name, entry.name_length);
	return entry;
}

static uint64_t publish(
	struct rgm_manager *manager, const struct table_change *changes, size_t count)
{
	struct table_draft *draft;
	struct rgm_error error;
	uint64_t version = 0;
	pthread_mutex_lock(&manager->commit);
	must(table_next_version(manager->table, &version, &error), &error);
	must(table_draft(manager->table, version, changes, count, &draft, &error), &error);
	table_publish(manager->table, draft, false);
	pthread_mutex_unlock(&manager->commit);
	REQUIRE_EQUAL(table_current(manager->table), version);
	return version;
}

/* What a reader of a version finds is the model, no more and no less. */
static void compare(const struct rgm_manager *manager, uint64_t version, const struct model *model)
{
	const struct ipc_table *header = table_header(manager->table);
	const struct ipc_top *top = ipc_table_top(header, version);
	uint32_t count = 0, index = 0;
	REQUIRE_EQUAL(top->version, version);
	for (uint32_t i = 0; i < MODEL; i++) {
		const struct ipc_dimension *entry = ipc_table_at(header, top, i);
		const struct ipc_dimension *expected = &model->entries[i];
		if (!entry) {
			REQUIRE_EQUAL(expected->id, 0);
			continue;
		}
		if (!expected->id) {
			REQUIRE_EQUAL(entry->id, 0);
			continue;
		}
		count++;
		REQUIRE(memcmp(entry, expected, sizeof *entry) == 0);
		REQUIRE(ipc_table_find(header, top, expected->name, expected->name_length,
				&index) == entry);
		REQUIRE_EQUAL(index, i);
	}
	REQUIRE_EQUAL(top->dimension_count, count);
	REQUIRE(ipc_table_find(header, top, "nobody", 6, &index) == NULL);
}

/* One random change of the model, as a change of the table. */
static struct table_change change_one(struct model *model, uint32_t index, uint64_t *random)
{
	struct ipc_dimension *entry = &model->entries[index];
	char name[RGM_NAME_MAX + 1];
	switch (entry->id ? support_below(random, 4) : 0) {
	case 0:
	case 1: /* new, or another under the same index, or the same under another name */
		snprintf(name, sizeof name, "%0*llu",
			(int)(20 + support_below(random, RGM_NAME_MAX - 20 + 1)),
			(unsigned long long)support_random(random));
		*entry = entry_of(
			entry->id && support_below(random, 2) ? entry->id : ++model->next_id, name);
		break;
	case 2:
		*entry = (struct ipc_dimension){0};
		break;
	default:
		entry->generation++;
		entry->root_offset = support_random(random);
	}
	return (struct table_change){.index = index, .entry = *entry};
}

static void test_random_changes(void **state)
{
	(void)state;
	uint64_t random = support_seed();
	struct rgm_manager *manager = bare_open(MODEL, 100);
	struct bare_reader reader = bare_attach(manager, 8, 1);
	static struct model model, seen[9];
	uint64_t pinned[9] = {0};
	model = (struct model){0};
	for (int round = 0; round < 3000; round++) {
		struct table_change changes[6];
		size_t count = 0;
		uint32_t most = 1 + (uint32_t)round / 15; /* leaves come one after the other */
		if (most > MODEL)
			most = MODEL;
		for (uint64_t n = 1 + support_below(&random, 6); n; n--) {
			uint32_t index = (uint32_t)support_below(&random, most);
			bool twice = false;
			for (size_t i = 0; i < count; i++)
				twice |= changes[i].index == index;
			if (!twice)
				changes[count++] = change_one(&model, index, &random);
		}
		uint64_t version = publish(manager, changes, count);
		compare(manager, version, &model);
		uint32_t slot = 1 + (uint32_t)support_below(&random, 8);
		if (pinned[slot]) {
			compare(manager, pinned[slot], &seen[slot]);
			bare_unpin(&reader, slot);
			pinned[slot] = 0;
		} else if (support_below(&random, 3) == 0) {
			pinned[slot] = bare_pin(manager, &reader, slot);
			REQUIRE_EQUAL(pinned[slot], version);
			seen[slot] = model;
		}
		if (support_below(&random, 4) == 0)
			reclaim_run(manager->reclaim);
	}
	for (uint32_t slot = 1; slot <= 8; slot++) {
		if (pinned[slot])
			compare(manager, pinned[slot], &seen[slot]);
		bare_unpin(&reader, slot);
	}
	reclaim_run(manager->reclaim);
	REQUIRE_EQUAL(reclaim_retired_bytes(manager->reclaim), 0);
	bare_detach(manager, &reader);
	bare_close(manager);
}

static void test_discard_costs_nothing(void **state)
{
	(void)state;
	struct rgm_manager *manager = bare_open(4096, 7);
	struct model model = {0};
	struct rgm_error error;
	struct table_change change = {.index = 3, .entry = entry_of(1, "kept")};
	model.entries[3] = change.entry;
	uint64_t version = publish(manager, &change, 1);
	uint64_t blocks = shm_blocks(manager);
	for (uint32_t i = 0; i < 20000; i++) {
		struct table_draft *draft;
		uint64_t next;
		change = (struct table_change){.index = i % 4096, .entry = entry_of(2, "thought")};
		must(table_next_version(manager->table, &next, &error), &error);
		REQUIRE_EQUAL(next, version + 1);
		must(table_draft(manager->table, next, &change, 1, &draft, &error), &error);
		table_discard(manager->table, draft);
	}
	table_discard(manager->table, NULL);
	compare(manager, version, &model);
	REQUIRE_EQUAL(shm_blocks(manager), blocks);
	bare_close(manager);
}

/* The limit of dimensions: one by one, found by name, at the end RGM_ELIMIT; then all go again. */
static void test_4096_dimensions(void **state)
{
	(void)state;
	uint32_t limit = 4096, index;
	struct rgm_manager *manager = bare_open(limit, 1);
	struct rgm_error error;
	char name[32];
	const struct ipc_table *header = table_header(manager->table);
	for (uint32_t i = 0; i < limit; i++) {
		must(table_free_index(manager->table, &index, &error), &error);
		REQUIRE_EQUAL(index, i);
		snprintf(name, sizeof name, "dimension-%u", i);
		struct table_change change = {.index = index, .entry = entry_of(i + 1, name)};
		publish(manager, &change, 1);
	}
	REQUIRE_ERROR(table_free_index(manager->table, &index, &error), RGM_ELIMIT, &error);
	const struct ipc_top *top = ipc_table_top(header, table_current(manager->table));
	REQUIRE_EQUAL(top->dimension_count, limit);
	for (uint32_t i = 0; i < limit; i++) {
		snprintf(name, sizeof name, "dimension-%u", i);
		REQUIRE(ipc_table_find(header, top, name, strlen(name), &index) != NULL);
		REQUIRE_EQUAL(index, i);
	}
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 0);
	uint64_t blocks = shm_blocks(manager);
	/* One change copies what changed: one leaf, the top, no names. */
	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "dimension-%u", i % limit);
		struct table_change change = {
			.index = i % limit, .entry = entry_of(i % limit + 1, name)};
		publish(manager, &change, 1);
	}
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 0);
	REQUIRE(shm_blocks(manager) <= blocks + GROWTH);
	for (uint32_t i = 0; i < limit; i++) {
		struct table_change change = {.index = i};
		publish(manager, &change, 1);
	}
	top = ipc_table_top(header, table_current(manager->table));
	REQUIRE_EQUAL(top->dimension_count, 0);
	must(table_free_index(manager->table, &index, &error), &error);
	bare_close(manager);
}

/* 4,096 dimensions in one version, as at a start. */
static void test_many_in_one_version(void **state)
{
	(void)state;
	uint32_t limit = 4096, index;
	struct rgm_manager *manager = bare_open(limit, 1);
	struct table_change *changes = calloc(limit, sizeof *changes);
	char name[32];
	REQUIRE(changes);
	for (uint32_t i = 0; i < limit; i++) {
		snprintf(name, sizeof name, "%u", i);
		changes[i] = (struct table_change){.index = i, .entry = entry_of(i + 1, name)};
	}
	uint64_t version = publish(manager, changes, limit);
	const struct ipc_table *header = table_header(manager->table);
	const struct ipc_top *top = ipc_table_top(header, version);
	for (uint32_t i = 0; i < limit; i++) {
		snprintf(name, sizeof name, "%u", i);
		REQUIRE(ipc_table_find(header, top, name, strlen(name), &index) != NULL);
		REQUIRE_EQUAL(index, i);
	}
	free(changes);
	bare_close(manager);
}

/* A section that stays costs one number in 4,096: the counter skips it, and nothing waits. */
static void test_numbers_skip_what_is_seen(void **state)
{
	(void)state;
	struct rgm_manager *manager = bare_open(64, 1);
	struct bare_reader reader = bare_attach(manager, 1, 1);
	struct model model = {0};
	struct table_change change = {.index = 0, .entry = entry_of(1, "a")};
	model.entries[0] = change.entry;
	publish(manager, &change, 1);
	uint64_t pinned = bare_pin(manager, &reader, 1), version = pinned, skipped = 0;
	uint64_t blocks = shm_blocks(manager);
	for (uint32_t i = 0; i < 3 * IPC_RING_ENTRIES; i++) {
		change.entry.generation = i;
		uint64_t next = publish(manager, &change, 1);
		REQUIRE(next > version && next % IPC_RING_ENTRIES != pinned % IPC_RING_ENTRIES);
		skipped += next - version - 1;
		version = next;
	}
	REQUIRE_EQUAL(skipped, 3);
	compare(manager, pinned, &model);
	/* Only what the section sees is kept: its top and its leaf. */
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 2 * 4096);
	REQUIRE(shm_blocks(manager) <= blocks + GROWTH);
	/* How long it has been seen is known however many versions there were since. */
	REQUIRE(table_replaced_ns(manager->table, pinned) != 0);
	bare_unpin(&reader, 1);
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 0);
	/* Its number comes back into use. */
	bool used = false;
	for (uint32_t i = 0; i < IPC_RING_ENTRIES; i++)
		used |= publish(manager, &change, 1) % IPC_RING_ENTRIES ==
		        pinned % IPC_RING_ENTRIES;
	REQUIRE(used);
	REQUIRE_EQUAL(table_replaced_ns(manager->table, pinned), 0);
	REQUIRE_EQUAL(table_replaced_ns(manager->table, table_current(manager->table)), 0);
	bare_detach(manager, &reader);
	bare_close(manager);
}

/* Every entry of the ring in view: one clear error, nothing changed, and on again with the first. */
static void test_ring_exhausted(void **state)
{
	(void)state;
	struct rgm_manager *manager = bare_open(64, 1);
	struct bare_reader reader = bare_attach(manager, IPC_MAX_SLOTS, 1);
	struct table_change change = {.index = 0, .entry = entry_of(1, "a")};
	struct rgm_error error;
	uint64_t next = 0, version = 0;
	for (uint32_t i = 1; i < IPC_RING_ENTRIES; i++) {
		version = publish(manager, &change, 1);
		REQUIRE_EQUAL(bare_pin(manager, &reader, i), version);
	}
	/* The current one and 4,095 in view: the first version's entry is the last one free. */
	version = publish(manager, &change, 1);
	uint64_t stalls = manager->counters[COUNTER_publish_stalls];
	pthread_mutex_lock(&manager->commit);
	REQUIRE_ERROR(table_next_version(manager->table, &next, &error), RGM_EBUSY, &error);
	pthread_mutex_unlock(&manager->commit);
	REQUIRE_EQUAL(next, 0);
	REQUIRE(manager->counters[COUNTER_publish_stalls] > stalls);
	REQUIRE_EQUAL(table_current(manager->table), version);
	uint64_t freed = load64_relaxed(&reader.slots[77].word);
	bare_unpin(&reader, 77);
	next = publish(manager, &change, 1);
	REQUIRE_EQUAL(next % IPC_RING_ENTRIES, freed % IPC_RING_ENTRIES);
	for (uint32_t i = 1; i < IPC_RING_ENTRIES; i++)
		bare_unpin(&reader, i);
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 0);
	REQUIRE_EQUAL(publish(manager, &change, 1), next + 1);
	bare_detach(manager, &reader);
	bare_close(manager);
}

/* One object of the name at a time; those of an earlier run are removed beforehand, and none is left. */
static void test_shm_name(void **state)
{
	(void)state;
	struct rgm_manager *manager = bare_open(64, 1);
	char name[IPC_SHM_NAME_BYTES];
	int file;
	struct table *second;
	struct rgm_error error;
	ipc_table_name(manager->instance_id, name);
	REQUIRE_ERROR(table_create(manager, 5, &second, &error), -EEXIST, &error);
	REQUIRE_ERROR(table_adopt(manager, &second, &error), RGM_EINUSE, &error);
	takeover_remove_names(manager);
	REQUIRE(os_shm_open(name, false, &file) != 0);
	must(table_create(manager, 5, &second, &error), &error);
	REQUIRE_EQUAL(table_current(second), 5);
	REQUIRE_EQUAL(table_current(manager->table), 1);
	table_destroy(second);
	REQUIRE(os_shm_open(name, false, &file) != 0);
	table_destroy(NULL);
	bare_close(manager);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_changes),
		cmocka_unit_test(test_discard_costs_nothing),
		cmocka_unit_test(test_4096_dimensions),
		cmocka_unit_test(test_many_in_one_version),
		cmocka_unit_test(test_numbers_skip_what_is_seen),
		cmocka_unit_test(test_ring_exhausted),
		cmocka_unit_test(test_shm_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
