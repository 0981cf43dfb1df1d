/* SPDX-License-Identifier: Apache-2.0 */
/* label: slow */
/*
 * What an old reader costs, in pages, exactly: never more than its version reaches, however often that is
 * overwritten; all of it once nothing of it is current any more; and nothing when the reader has gone.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <signal.h>

#define LAYERS 96u
#define ROUNDS 6u
#define EXTENT (2ull << 20)

/* Five pages each, so that freed runs are split and joined. */
static const struct content data = {"data", LAYERS, 5 * 4096, 41};

static struct rgm_dimension_row row_of(struct instance *instance)
{
	struct rgm_dimension_row row;
	instance_show(instance, "data", &row);
	REQUIRE_EQUAL(row.allocated_pages, row.live_pages + row.retired_pages);
	return row;
}

/* Each layer by itself, in random order, and after each commit no more is kept than `most` pages. */
static void overwrite(
	struct instance *instance, uint64_t *random, uint64_t generation, uint64_t most)
{
	unsigned order[LAYERS];
	for (unsigned i = 0; i < LAYERS; i++) {
		unsigned other = (unsigned)support_below(random, i + 1);
		order[i] = order[other];
		order[other] = i;
	}
	for (unsigned i = 0; i < LAYERS; i++) {
		instance_put_layer(instance, &data, order[i], generation);
		WAIT_UNTIL(instance_retired(instance, "data") <= most);
	}
}

/* The file has room for the live pages, the kept ones, a commit under way, and what a growth adds to be
 * spared the next: an extent, and a thirty-second of its size. */
static void expect_file(struct instance *instance, uint64_t kept)
{
	struct rgm_dimension_row row = row_of(instance);
	uint64_t needed = (row.live_pages + kept + 64) * 4096 + EXTENT;
	REQUIRE(row.region_bytes <= needed + needed / 32 + 2 * EXTENT);
}

/* Settled: as many pages wait as the old version had, and are gone with the reader. */
static void expect_kept(struct instance *instance, uint64_t pages)
{
	WAIT_UNTIL(instance_retired(instance, "data") <= pages);
	support_sleep_ms(200);
	REQUIRE_EQUAL(instance_retired(instance, "data"), pages);
	expect_file(instance, pages);
}

static void expect_back(struct instance *instance, uint64_t pages)
{
	struct rgm_status status;
	instance_wait_reclaimed(instance, "data");
	WAIT_UNTIL((instance_status(instance, &status), status.retired_bytes) == 0);
	REQUIRE_EQUAL(row_of(instance).allocated_pages, row_of(instance).live_pages);
	REQUIRE_EQUAL(row_of(instance).live_pages, pages);
}

static void test_old_hold(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	uint64_t random = support_seed();
	instance_put(instance, &data, 1);
	overwrite(instance, &random, 2, UINT64_MAX);
	instance_wait_reclaimed(instance, "data");
	uint64_t pages = row_of(instance).live_pages;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	struct rgm_hold *hold = reader_take(&reader, "data");
	for (uint64_t round = 0; round < ROUNDS; round++) {
		overwrite(instance, &random, 3 + round, pages);
		REQUIRE_EQUAL(hold_generation(hold, &data), 2);
	}
	expect_kept(instance, pages);
	REQUIRE_EQUAL(hold_generation(hold, &data), 2);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	expect_back(instance, pages);
	reader_close(&reader);
}

/* Two versions, of which the newer came about by half the layers: what both reach is kept once. */
static void test_two_holds(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	uint64_t random = support_seed();
	instance_put(instance, &data, 1);
	uint64_t pages = row_of(instance).live_pages;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	struct rgm_hold *older = reader_take(&reader, "data");
	for (unsigned i = 0; i < LAYERS / 2; i++)
		instance_put_layer(instance, &data, i, 2);
	struct rgm_hold *newer = reader_take(&reader, "data");
	WAIT_UNTIL(instance_retired(instance, "data") <= pages);
	support_sleep_ms(200);
	/* Of the older version alone: the layers that were replaced, and the directory above them. */
	uint64_t of_older = instance_retired(instance, "data");
	REQUIRE(of_older >= LAYERS / 2 * 5 && of_older < LAYERS / 2 * 5 + 32);
	uint64_t of_newer = row_of(instance).live_pages;
	for (uint64_t round = 0; round < 4; round++)
		overwrite(instance, &random, 3 + round, of_older + of_newer);
	expect_kept(instance, of_older + of_newer);
	REQUIRE_EQUAL(hold_generation(older, &data), 1);
	REQUIRE_EQUAL(rgm_hold_release(newer), 0);
	expect_kept(instance, pages);
	REQUIRE_EQUAL(hold_generation(older, &data), 1);
	REQUIRE_EQUAL(rgm_hold_release(older), 0);
	expect_back(instance, row_of(instance).live_pages);
	reader_close(&reader);
}

#if !SUPPORT_RACE_BUILD

static void stay_inside(struct child *parent, void *context)
{
	struct reader reader;
	reader_open(&reader, context, NULL);
	reader_map(&reader, "data");
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &data), 2);
	child_say(parent, 'i');
	child_expect(parent, 'o');
	REQUIRE_EQUAL(slot_generation(reader.slot, &data), 2);
	must(rgm_unpin(reader.slot), NULL);
	reader_close(&reader);
}

static void test_stopped_section(void **state)
{
	struct instance *instance = *state;
	uint64_t random = support_seed();
	instance_put(instance, &data, 1);
	overwrite(instance, &random, 2, UINT64_MAX);
	instance_wait_reclaimed(instance, "data");
	uint64_t pages = row_of(instance).live_pages;
	struct child child = child_start(stay_inside, instance);
	child_expect(&child, 'i');
	child_signal(&child, SIGSTOP);
	child_wait_stopped(&child);
	for (uint64_t round = 0; round < ROUNDS; round++)
		overwrite(instance, &random, 3 + round, pages);
	expect_kept(instance, pages);
	child_signal(&child, SIGCONT);
	child_say(&child, 'o');
	child_join(&child);
	expect_back(instance, pages);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_old_hold),
		INSTANCE_TEST(test_two_holds),
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_stopped_section),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
