/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds: one dimension at one version, beyond its section, for as many views as want it, released by
 * whoever likes, and nothing kept longer or shorter than that.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <pthread.h>

static const struct content data = {"data", 6, 16384, 31};
static const struct content other = {"other", 2, 4096, 32};

static uint64_t live_pages(struct instance *instance, const char *name)
{
	struct rgm_dimension_row row;
	instance_show(instance, name, &row);
	return row.live_pages;
}

static uint32_t holds_of(struct instance *instance, const struct reader *reader)
{
	struct rgm_reader_row row;
	REQUIRE(instance_reader(instance, reader->number, &row));
	return row.holds;
}

static void open_both(struct instance *instance, struct reader *reader, uint32_t holds)
{
	struct rgm_attach_options options = {.size = sizeof options, .holds = holds};
	instance_put(instance, &data, 1);
	instance_put(instance, &other, 1);
	reader_open(reader, instance, &options);
	reader_map(reader, "data");
	reader_map(reader, "other");
}

/* The section is over, everything was replaced many times: the hold's bytes stand, no others do. */
static void test_beyond_the_section(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	open_both(instance, &reader, 0);
	uint64_t pages = live_pages(instance, "data");
	struct rgm_hold *hold = reader_take(&reader, "data");
	uint64_t version = rgm_hold_version(hold);
	for (uint64_t generation = 2; generation < 40; generation++) {
		instance_put(instance, &data, generation);
		instance_put(instance, &other, generation);
		REQUIRE_EQUAL(hold_generation(hold, &data), 1);
		REQUIRE_EQUAL(reader_generation(&reader, &data), generation);
	}
	WAIT_UNTIL(instance_retired(instance, "data") == pages);
	instance_wait_reclaimed(instance, "other");
	REQUIRE_EQUAL(rgm_hold_version(hold), version);
	REQUIRE_EQUAL(hold_generation(hold, &data), 1);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(rgm_hold_release(NULL), 0);
	reader_close(&reader);
}

/* Views of one version share one entry; another version is another one. */
static void test_shared_count(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	open_both(instance, &reader, 2);
	struct rgm_hold *first = reader_take(&reader, "data"),
			*again = reader_take(&reader, "data");
	REQUIRE_EQUAL(holds_of(instance, &reader), 1);
	instance_put(instance, &data, 2);
	struct rgm_hold *newer = reader_take(&reader, "data");
	REQUIRE_EQUAL(holds_of(instance, &reader), 2);
	REQUIRE(rgm_hold_version(newer) > rgm_hold_version(first));
	REQUIRE_EQUAL(rgm_hold_release(first), 0);
	REQUIRE_EQUAL(holds_of(instance, &reader), 2);
	REQUIRE_EQUAL(hold_generation(again, &data), 1);
	REQUIRE_EQUAL(hold_generation(newer, &data), 2);
	REQUIRE_EQUAL(rgm_hold_release(again), 0);
	REQUIRE_EQUAL(holds_of(instance, &reader), 1);
	REQUIRE_EQUAL(rgm_hold_release(newer), 0);
	REQUIRE_EQUAL(holds_of(instance, &reader), 0);
	reader_close(&reader);
}

static void test_limit(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_hold *holds[3], *more = NULL;
	struct rgm_dimension dimension;
	struct rgm_error error;
	open_both(instance, &reader, 3);
	for (int i = 0; i < 3; i++) {
		instance_put(instance, &data, 10 + (uint64_t)i);
		holds[i] = reader_take(&reader, "data");
	}
	must(rgm_pin(reader.slot), NULL);
	must(rgm_find(reader.slot, "other", &dimension, &error), &error);
	REQUIRE_ERROR(rgm_hold_take(reader.slot, &dimension, &more, &error), RGM_ELIMIT, &error);
	REQUIRE(more == NULL);
	/* One more view of what is held already costs no entry. */
	struct rgm_hold *same = reader_hold(&reader, "data");
	REQUIRE_EQUAL(rgm_hold_release(holds[1]), 0);
	must(rgm_hold_take(reader.slot, &dimension, &more, &error), &error);
	must(rgm_unpin(reader.slot), NULL);
	REQUIRE_EQUAL(hold_generation(holds[0], &data), 10);
	REQUIRE_EQUAL(hold_generation(same, &data), 12);
	REQUIRE_EQUAL(hold_generation(more, &other), 1);
	REQUIRE_EQUAL(rgm_hold_release(holds[0]), 0);
	REQUIRE_EQUAL(rgm_hold_release(holds[2]), 0);
	REQUIRE_EQUAL(rgm_hold_release(same), 0);
	REQUIRE_EQUAL(rgm_hold_release(more), 0);
	REQUIRE_EQUAL(holds_of(instance, &reader), 0);
	reader_close(&reader);
}

static void *look_and_release(void *argument)
{
	struct rgm_hold *hold = argument;
	REQUIRE_EQUAL(hold_generation(hold, &data), 1);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	return NULL;
}

static void test_released_elsewhere(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	pthread_t thread;
	open_both(instance, &reader, 0);
	struct rgm_hold *hold = reader_take(&reader, "data");
	rgm_slot_close(reader.slot);
	reader.slot = NULL;
	instance_put(instance, &data, 2);
	REQUIRE_EQUAL(pthread_create(&thread, NULL, look_and_release, hold), 0);
	pthread_join(thread, NULL);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(holds_of(instance, &reader), 0);
	reader_close(&reader);
}

/* Its dimension is dropped, its name used again, its index too: the hold sees what it saw. */
static void test_of_a_dropped_dimension(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	open_both(instance, &reader, 0);
	struct rgm_hold *hold = reader_take(&reader, "data");
	instance_drop(instance, "data");
	for (uint64_t generation = 5; generation < 20; generation++)
		instance_put(instance, &data, generation);
	must(rgm_map(reader.session, "data", &error), &error);
	REQUIRE_EQUAL(reader_generation(&reader, &data), 19);
	REQUIRE_EQUAL(hold_generation(hold, &data), 1);
	struct rgm_hold *newer = reader_take(&reader, "data");
	instance_drop(instance, "data");
	REQUIRE_EQUAL(hold_generation(newer, &data), 19);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	REQUIRE_EQUAL(hold_generation(newer, &data), 19);
	REQUIRE_EQUAL(rgm_hold_release(newer), 0);
	REQUIRE_EQUAL(holds_of(instance, &reader), 0);
	reader_close(&reader);
}

/* A dimension that is not in the section's version any more, or not mapped. */
static void test_refused(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_dimension dimension, gone;
	struct rgm_hold *hold = NULL;
	struct rgm_error error;
	open_both(instance, &reader, 0);
	must(rgm_pin(reader.slot), NULL);
	must(rgm_find(reader.slot, "data", &gone, &error), &error);
	must(rgm_unpin(reader.slot), NULL);
	instance_drop(instance, "data");
	instance_create(instance, "new");
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_ERROR(rgm_hold_take(reader.slot, &gone, &hold, &error), RGM_EGONE, &error);
	must(rgm_find(reader.slot, "new", &dimension, &error), &error);
	REQUIRE_ERROR(rgm_hold_take(reader.slot, &dimension, &hold, &error), RGM_EAGAIN, &error);
	dimension = (struct rgm_dimension){.id = 0, .index = 60};
	REQUIRE_ERROR(rgm_hold_take(reader.slot, &dimension, &hold, &error), RGM_EGONE, &error);
	dimension = (struct rgm_dimension){.id = 1, .index = UINT32_MAX};
	REQUIRE_ERROR(rgm_hold_take(reader.slot, &dimension, &hold, &error), RGM_EGONE, &error);
	must(rgm_unpin(reader.slot), NULL);
	REQUIRE(hold == NULL);
	reader_close(&reader);
}

/* Many at once, each with its own version, in an order that has nothing to do with their taking. */
static void test_many(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	enum {
		MANY = 600
	};
	static struct rgm_hold *holds[MANY];
	uint64_t random = support_seed();
	open_both(instance, &reader, MANY);
	for (uint64_t i = 0; i < MANY; i++) {
		instance_put(instance, &other, 2 + i);
		holds[i] = reader_take(&reader, "other");
	}
	for (uint64_t i = 0; i < MANY; i++)
		REQUIRE_EQUAL(hold_generation(holds[i], &other), 2 + i);
	REQUIRE_EQUAL(holds_of(instance, &reader), MANY);
	for (int left = MANY; left > 0; left--) {
		uint64_t i = support_below(&random, MANY);
		while (!holds[i])
			i = (i + 1) % MANY;
		REQUIRE_EQUAL(hold_generation(holds[i], &other), 2 + i);
		REQUIRE_EQUAL(rgm_hold_release(holds[i]), 0);
		holds[i] = NULL;
		if (left % 50 == 0)
			for (uint64_t n = 0; n < MANY; n++)
				REQUIRE(!holds[n] || hold_generation(holds[n], &other) == 2 + n);
	}
	instance_wait_reclaimed(instance, "other");
	reader_close(&reader);
}

/* Taken and released by all threads at once while the content is replaced. */
struct crowd {
	struct rgm_session *session;
	bool stop;      /* atomic */
	uint64_t looks; /* atomic */
	uint64_t wrong; /* atomic */
};

static void *take_and_release(void *argument)
{
	struct crowd *crowd = argument;
	struct reader reader = {.session = crowd->session};
	struct rgm_error error;
	must(rgm_slot_open(crowd->session, &reader.slot, &error), &error);
	while (!__atomic_load_n(&crowd->stop, __ATOMIC_ACQUIRE)) {
		must(rgm_pin(reader.slot), NULL);
		uint64_t generation = slot_generation(reader.slot, &data);
		struct rgm_hold *hold = reader_hold(&reader, "data");
		must(rgm_unpin(reader.slot), NULL);
		for (int i = 0; i < 3; i++)
			if (!generation || hold_generation(hold, &data) != generation)
				__atomic_fetch_add(&crowd->wrong, 1, __ATOMIC_RELAXED);
		REQUIRE_EQUAL(rgm_hold_release(hold), 0);
		__atomic_fetch_add(&crowd->looks, 1, __ATOMIC_RELAXED);
	}
	rgm_slot_close(reader.slot);
	return NULL;
}

static void test_crowd(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	pthread_t threads[4];
	open_both(instance, &reader, 5);
	struct crowd crowd = {.session = reader.session};
	for (int i = 0; i < 4; i++)
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, take_and_release, &crowd), 0);
	uint64_t generation = 1, until = support_now_ms() + 1000;
	while (support_now_ms() < until || __atomic_load_n(&crowd.looks, __ATOMIC_RELAXED) < 200)
		instance_put(instance, &data, ++generation);
	__atomic_store_n(&crowd.stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	REQUIRE_EQUAL(crowd.wrong, 0);
	REQUIRE_EQUAL(holds_of(instance, &reader), 0);
	instance_wait_reclaimed(instance, "data");
	reader_close(&reader);
}

/* Detaching releases what is left. */
static void test_detach(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	open_both(instance, &reader, 0);
	reader_take(&reader, "data");
	reader_take(&reader, "other");
	instance_put(instance, &data, 2);
	reader_close(&reader);
	instance_wait_readers(instance, 0);
	instance_wait_reclaimed(instance, "data");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_beyond_the_section),
		INSTANCE_TEST(test_shared_count),
		INSTANCE_TEST(test_limit),
		INSTANCE_TEST(test_released_elsewhere),
		INSTANCE_TEST(test_of_a_dropped_dimension),
		INSTANCE_TEST(test_refused),
		INSTANCE_TEST(test_many),
		INSTANCE_TEST(test_crowd),
		INSTANCE_TEST(test_detach),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
