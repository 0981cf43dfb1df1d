/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regionmgr/manager/reclaim.c: exactly what a section or a hold can see is kept, by a model of random
 * blocks, sections, holds and revocations; in bounded steps; and what a dead or hostile reader changes about it.
 */
#define _GNU_SOURCE 1

#include "tests/manager/bare.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "dimensions/kind.h"

#define DIMENSIONS 3u
#define BLOCKS     4000u
#define SLOTS      6u
#define HOLDS      40u

struct block {
	uint64_t born, retired, pages;
	uint32_t dimension;
};

struct fixture {
	struct rgm_manager *manager;
	char folder[64];
	struct dimension *dimensions[DIMENSIONS];
	struct ipc_dimension entry;
	uint64_t used[DIMENSIONS]; /* pages that no block of the test has */
};

static int setup(void **state)
{
	static struct fixture fixture;
	struct rgm_error error;
	fixture = (struct fixture){.manager = bare_open(64, 1000)};
	strcpy(fixture.folder, "/tmp/regionmgr-test-XXXXXX");
	REQUIRE(mkdtemp(fixture.folder));
	fixture.manager->folder = open(fixture.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (uint32_t i = 0; i < DIMENSIONS; i++) {
		struct dimension *dimension = dimension_create(fixture.manager, i + 1);
		REQUIRE(dimension);
		struct pool_region_options options = {.id = i + 1,
			.kind = RGM_KIND_LAYERS,
			.max_bytes = 1ull << 30,
			.instance_id = fixture.manager->instance_id,
			.incarnation = fixture.manager->incarnation};
		snprintf(dimension->file, sizeof dimension->file, "%u", i);
		must(pool_region_create(fixture.manager->folder, dimension->file, &options,
			     &dimension->region, &error),
			&error);
		fixture.dimensions[i] = dimension;
	}
	fixture.entry = (struct ipc_dimension){.id = 9, .name_length = 1, .name = "x"};
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t i = 0; i < DIMENSIONS; i++) {
		unlinkat(fixture->manager->folder, fixture->dimensions[i]->file, 0);
		dimension_put(fixture->dimensions[i]);
	}
	close(fixture->manager->folder);
	bare_close(fixture->manager);
	return rmdir(fixture->folder);
}

static uint64_t publish(struct fixture *fixture)
{
	struct rgm_manager *manager = fixture->manager;
	struct rgm_error error;
	struct table_draft *draft;
	uint64_t version = 0;
	struct table_change change = {.index = 0, .entry = fixture->entry};
	pthread_mutex_lock(&manager->commit);
	must(table_next_version(manager->table, &version, &error), &error);
	must(table_draft(manager->table, version, &change, 1, &draft, &error), &error);
	table_publish(manager->table, draft, false);
	pthread_mutex_unlock(&manager->commit);
	return version;
}

static uint64_t allocate(struct dimension *dimension, uint64_t pages)
{
	struct rgm_error error;
	uint64_t page;
	must(pool_region_allocate(dimension->region, pages, &page, &error), &error);
	return page;
}

/* --- Against a model --------------------------------------------------------------------------- */

struct model {
	struct block blocks[BLOCKS];
	size_t count;
	uint64_t slots[SLOTS + 1];
	struct ipc_held holds[HOLDS];
};

static bool visible(const struct model *model, const struct block *block)
{
	for (uint32_t i = 0; i <= SLOTS; i++)
		if (model->slots[i] >= block->born && model->slots[i] < block->retired &&
			model->slots[i])
			return true;
	for (uint32_t i = 0; i < HOLDS; i++)
		if (model->holds[i].dimension == block->dimension + 1 &&
			model->holds[i].version >= block->born &&
			model->holds[i].version < block->retired)
			return true;
	return false;
}

/* What was let go stays gone, also when a later word claims to see it. */
static void expect_kept(struct fixture *fixture, struct model *model)
{
	uint64_t pages[DIMENSIONS] = {0};
	size_t kept = 0;
	for (size_t i = 0; i < model->count; i++) {
		if (!visible(model, &model->blocks[i]))
			continue;
		pages[model->blocks[i].dimension] += model->blocks[i].pages;
		model->blocks[kept++] = model->blocks[i];
	}
	model->count = kept;
	reclaim_run(fixture->manager->reclaim);
	for (uint32_t i = 0; i < DIMENSIONS; i++) {
		struct pool_region_info info;
		REQUIRE_EQUAL(atomic_load(&fixture->dimensions[i]->retired_pages), pages[i]);
		pool_region_info(fixture->dimensions[i]->region, &info);
		REQUIRE_EQUAL(info.used_pages, pages[i]);
	}
}

/* A batch of one dimension's blocks, as a commit retires them. */
static void retire_some(struct fixture *fixture, struct model *model, uint64_t *random)
{
	uint32_t which = (uint32_t)support_below(random, DIMENSIONS);
	struct dimension *dimension = fixture->dimensions[which];
	uint64_t current = table_current(fixture->manager->table);
	size_t count = 1 + support_below(random, 12);
	if (model->count + count > BLOCKS)
		return;
	struct retired *retired = retired_create(RETIRED_BLOCKS, dimension, count);
	REQUIRE(retired);
	struct block *blocks = &model->blocks[model->count];
	for (size_t i = 0; i < count; i++) {
		uint64_t pages = 1 + support_below(random, 20);
		blocks[i] = (struct block){current - support_below(random, 30), 0, pages, which};
		retired_add(retired, allocate(dimension, pages), pages, blocks[i].born);
	}
	/* As a commit does: published first, handed over then. Not visible in between to reclaim. */
	uint64_t version = publish(fixture);
	for (size_t i = 0; i < count; i++)
		blocks[i].retired = version;
	reclaim_push(fixture->manager->reclaim, retired, version);
	model->count += count;
}

static void move_slot(
	struct fixture *fixture, struct model *model, struct bare_reader *reader, uint64_t *random)
{
	uint32_t slot = 1 + (uint32_t)support_below(random, SLOTS);
	if (model->slots[slot]) {
		bare_unpin(reader, slot);
		model->slots[slot] = 0;
	} else {
		model->slots[slot] = bare_pin(fixture->manager, reader, slot);
	}
}

/* Holds are taken where a section sees the version, which is then one of the slots'. */
static void move_hold(struct model *model, struct bare_reader *reader, uint64_t *random)
{
	uint32_t index = (uint32_t)support_below(random, HOLDS);
	uint32_t slot = 1 + (uint32_t)support_below(random, SLOTS);
	struct ipc_held *held = &model->holds[index];
	if (held->dimension) {
		ipc_hold_clear(&reader->holds[index]);
		*held = (struct ipc_held){0};
	} else if (model->slots[slot]) {
		*held = (struct ipc_held){
			1 + support_below(random, DIMENSIONS), model->slots[slot]};
		ipc_hold_store(&reader->holds[index], held->dimension, held->version);
	}
}

/* What the session sees below the current version is taken back: its words stand, and count no more. */
static void take_back(
	struct fixture *fixture, struct model *model, const struct bare_reader *reader)
{
	uint64_t current = table_current(fixture->manager->table);
	REQUIRE_EQUAL(sessions_revoke(
			      fixture->manager->sessions, session_number(reader->session), current),
		0);
	for (uint32_t slot = 1; slot <= SLOTS; slot++)
		if (model->slots[slot] < current)
			model->slots[slot] = 0;
	for (uint32_t i = 0; i < HOLDS; i++)
		if (model->holds[i].version < current)
			model->holds[i] = (struct ipc_held){0};
}

static void test_interval_rule(void **state)
{
	struct fixture *fixture = *state;
	static struct model model;
	uint64_t random = support_seed();
	model = (struct model){0};
	struct bare_reader reader = bare_attach(fixture->manager, SLOTS, HOLDS);
	for (int i = 0; i < 40; i++)
		publish(fixture);
	for (int round = 0; round < 4000; round++) {
		if (support_below(&random, 100) == 0)
			take_back(fixture, &model, &reader);
		switch (support_below(&random, 4)) {
		case 0:
			retire_some(fixture, &model, &random);
			break;
		case 1:
			publish(fixture);
			break;
		case 2:
			move_slot(fixture, &model, &reader, &random);
			break;
		default:
			move_hold(&model, &reader, &random);
		}
		expect_kept(fixture, &model);
	}
	for (uint32_t slot = 1; slot <= SLOTS; slot++)
		bare_unpin(&reader, slot);
	for (uint32_t i = 0; i < HOLDS; i++)
		ipc_hold_clear(&reader.holds[i]);
	memset(model.slots, 0, sizeof model.slots);
	memset(model.holds, 0, sizeof model.holds);
	expect_kept(fixture, &model);
	REQUIRE_EQUAL(reclaim_retired_bytes(fixture->manager->reclaim), 0);
	bare_detach(fixture->manager, &reader);
}

/* --- Who counts -------------------------------------------------------------------------------- */

/* One block that every reader at the version before sees; returns the version of its retirement. */
static uint64_t retire_one(struct fixture *fixture, uint64_t born)
{
	struct retired *retired = retired_create(RETIRED_BLOCKS, fixture->dimensions[0], 1);
	retired_add(retired, allocate(fixture->dimensions[0], 5), 5, born);
	uint64_t version = publish(fixture);
	reclaim_push(fixture->manager->reclaim, retired, version);
	return version;
}

static uint64_t kept(struct fixture *fixture)
{
	reclaim_run(fixture->manager->reclaim);
	return atomic_load(&fixture->dimensions[0]->retired_pages);
}

/* The death of a process ends its sections at once; its holds last as long as its lock. */
static void test_dead_process(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	struct bare_reader reader = bare_attach(manager, 2, 2);
	uint64_t version = bare_pin(manager, &reader, 1);
	retire_one(fixture, version);
	REQUIRE_EQUAL(kept(fixture), 5);
	sessions_died(manager, reader.session);
	REQUIRE_EQUAL(kept(fixture), 0);
	ipc_hold_store(&reader.holds[1], 1, table_current(manager->table));
	retire_one(fixture, version);
	REQUIRE_EQUAL(kept(fixture), 5);
	/* Hung up, but still mapped by somebody. */
	sessions_hangup(manager, reader.session);
	REQUIRE_EQUAL(sessions_sweep(manager), 1);
	REQUIRE_EQUAL(kept(fixture), 5);
	os_unmap(reader.segment, reader.bytes);
	REQUIRE_EQUAL(sessions_sweep(manager), 0);
	REQUIRE_EQUAL(sessions_count(manager->sessions), 0);
	REQUIRE_EQUAL(kept(fixture), 0);
}

/* A connected reader is not ended by a free lock, whatever it did to it. */
static void test_lock_alone_ends_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	struct bare_reader reader = bare_attach(manager, 2, 2);
	os_unmap(reader.segment, reader.bytes);
	REQUIRE_EQUAL(sessions_sweep(manager), 0);
	REQUIRE_EQUAL(sessions_count(manager->sessions), 1);
	sessions_hangup(manager, reader.session);
	REQUIRE_EQUAL(sessions_sweep(manager), 0);
	REQUIRE_EQUAL(sessions_count(manager->sessions), 0);
}

/* A hold keeps its own dimension only. */
static void test_hold_of_another_dimension(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	struct bare_reader reader = bare_attach(manager, 2, 2);
	uint64_t version = table_current(manager->table);
	ipc_hold_store(&reader.holds[0], 2, version);
	retire_one(fixture, version);
	REQUIRE_EQUAL(kept(fixture), 0);
	bare_detach(manager, &reader);
}

/* The manager's own holds are as a reader's. */
static void test_own_hold(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	uint64_t version = table_current(manager->table);
	struct reclaim_hold hold = {.dimension = 1, .version = version};
	struct reclaim_hold other = {.dimension = 1, .version = version - 1};
	reclaim_hold_add(manager->reclaim, &hold);
	reclaim_hold_add(manager->reclaim, &other);
	retire_one(fixture, version);
	REQUIRE_EQUAL(kept(fixture), 5);
	reclaim_hold_remove(manager->reclaim, &other);
	REQUIRE_EQUAL(kept(fixture), 5);
	reclaim_hold_remove(manager->reclaim, &hold);
	REQUIRE_EQUAL(kept(fixture), 0);
}

/* More blocks than a step frees, by the thread alone. */
static void test_thread_frees_large_batches(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	struct bare_reader reader = bare_attach(manager, 2, 2);
	uint64_t version = bare_pin(manager, &reader, 1);
	size_t count = 20000;
	struct retired *retired = retired_create(RETIRED_BLOCKS, fixture->dimensions[0], count);
	uint64_t first = allocate(fixture->dimensions[0], count);
	for (size_t i = 0; i < count; i++)
		retired_add(retired, first + i, 1, i % 2 ? version : version + 1);
	reclaim_push(manager->reclaim, retired, publish(fixture));
	WAIT_UNTIL(atomic_load(&fixture->dimensions[0]->retired_pages) == count / 2);
	bare_unpin(&reader, 1);
	WAIT_UNTIL(atomic_load(&fixture->dimensions[0]->retired_pages) == 0);
	bare_detach(manager, &reader);
}

/* Batches of all sizes come while the thread goes in steps, which end inside of them: at the end exactly
 * what the section sees is left, and freed pages were joined to what they were. */
static void test_steps_lose_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	struct dimension *dimension = fixture->dimensions[0];
	struct bare_reader reader = bare_attach(manager, 2, 2);
	struct pool_region_info info;
	uint64_t random = support_seed(), kept = 0;
	uint64_t version = bare_pin(manager, &reader, 1);
	for (uint32_t batch = 0; batch < 40; batch++) {
		size_t count = 1 + support_below(&random, batch % 4 ? 300 : 12000);
		struct retired *retired = retired_create(RETIRED_BLOCKS, dimension, count);
		REQUIRE(retired);
		uint64_t first = allocate(dimension, count);
		/* Neighbours one after the other, upwards or downwards. */
		size_t stride = batch % 2 ? count - 1 : 1;
		for (size_t i = 0; i < count; i++) {
			bool seen = support_below(&random, 3) == 0;
			kept += seen;
			retired_add(retired, first + i * stride % count, 1,
				seen ? version - support_below(&random, 5) : version + 1);
		}
		reclaim_push(manager->reclaim, retired, publish(fixture));
		if (batch % 8 == 7)
			WAIT_UNTIL(atomic_load(&dimension->retired_pages) == kept);
	}
	WAIT_UNTIL(atomic_load(&dimension->retired_pages) == kept);
	pool_region_info(dimension->region, &info);
	REQUIRE_EQUAL(info.used_pages, kept);
	bare_unpin(&reader, 1);
	WAIT_UNTIL(atomic_load(&dimension->retired_pages) == 0);
	pool_region_info(dimension->region, &info);
	REQUIRE_EQUAL(info.used_pages, 0);
	REQUIRE(info.free_runs <= 2); /* the allocation map may stand between two */
	bare_detach(manager, &reader);
}

/* The end comes while a large batch is being looked at, which a reader sees all of: nothing stays allocated
 * for the next manager. */
static void test_end_within_a_look(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	struct dimension *dimension = fixture->dimensions[0];
	struct bare_reader reader = bare_attach(manager, 2, 2);
	struct pool_region_info info;
	const size_t count = 100000;
	uint64_t version = bare_pin(manager, &reader, 1);
	struct retired *retired = retired_create(RETIRED_BLOCKS, dimension, count);
	REQUIRE(retired);
	uint64_t first = allocate(dimension, count);
	for (size_t i = 0; i < count; i++)
		retired_add(retired, first + i, 1, version);
	reclaim_push(manager->reclaim, retired, publish(fixture));
	reclaim_release_all(manager->reclaim);
	pool_region_info(dimension->region, &info);
	REQUIRE_EQUAL(info.used_pages, 0);
	bare_unpin(&reader, 1);
	bare_detach(manager, &reader);
}

/* What stays is told by reader. */
static void test_kept_bytes(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	struct bare_reader reader = bare_attach(manager, 2, 2);
	uint64_t since = 0, version = bare_pin(manager, &reader, 1);
	retire_one(fixture, version);
	struct ipc_held held = {1, version};
	struct sessions_view nobody = {0}, section = {0}, hold = {.holds = &held, .hold_count = 1};
	REQUIRE_EQUAL(ipc_seen_add(&section.sections, version), 0);
	/* The section sees the version's top and leaf as well; a hold copies what it needs. */
	REQUIRE_EQUAL(reclaim_kept_bytes(manager->reclaim, &nobody, &since), 0);
	REQUIRE_EQUAL(since, 0);
	REQUIRE_EQUAL(reclaim_kept_bytes(manager->reclaim, &hold, &since), 5 * 4096);
	REQUIRE(since != 0 && since <= os_now_ns());
	uint64_t bytes = reclaim_kept_bytes(manager->reclaim, &section, &since);
	REQUIRE(bytes > 5 * 4096 && bytes <= 8 * 4096);
	REQUIRE_EQUAL(reclaim_retired_bytes(manager->reclaim), bytes);
	ipc_seen_free(&section.sections);
	bare_unpin(&reader, 1);
	bare_detach(manager, &reader);
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 0);
}

/* Words from everywhere at once, and the segment cut off: the manager lives, and what remains of the
 * others' claims is right. */
static void test_hostile_words(void **state)
{
	struct fixture *fixture = *state;
	struct rgm_manager *manager = fixture->manager;
	uint64_t random = support_seed();
	struct bare_reader honest = bare_attach(manager, 2, 2);
	struct bare_reader hostile = bare_attach(manager, 64, 512);
	uint64_t version = bare_pin(manager, &honest, 1);
	retire_one(fixture, version);
	for (int round = 0; round < 300; round++) {
		uint64_t *words = (void *)hostile.segment;
		for (size_t i = 0; i < hostile.bytes / sizeof *words; i++)
			__atomic_store_n(&words[i],
				support_below(&random, 3) ? support_random(&random)
							  : version + support_below(&random, 8),
				__ATOMIC_RELAXED);
		publish(fixture);
		REQUIRE(kept(fixture) >= 5);
	}
	for (size_t i = 0; i < hostile.bytes / sizeof(uint64_t); i++)
		__atomic_store_n((uint64_t *)(void *)hostile.segment + i, 0, __ATOMIC_RELAXED);
	REQUIRE_EQUAL(kept(fixture), 5);
	bare_unpin(&honest, 1);
	REQUIRE_EQUAL(kept(fixture), 0);
	bare_detach(manager, &hostile);
	bare_detach(manager, &honest);
}

#define RECLAIM_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECLAIM_TEST(test_interval_rule),
		RECLAIM_TEST(test_dead_process),
		RECLAIM_TEST(test_lock_alone_ends_nothing),
		RECLAIM_TEST(test_hold_of_another_dimension),
		RECLAIM_TEST(test_own_hold),
		RECLAIM_TEST(test_thread_frees_large_batches),
		RECLAIM_TEST(test_steps_lose_nothing),
		RECLAIM_TEST(test_end_within_a_look),
		RECLAIM_TEST(test_kept_bytes),
		RECLAIM_TEST(test_hostile_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
