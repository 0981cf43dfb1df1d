/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections: what a thread sees from rgm_pin() to rgm_unpin() stands still, keeps exactly what its
 * version reaches, and costs writers nothing, whichever form the barrier has.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

static const struct content small = {"small", 3, 4096, 100};
static const struct content large = {"large", 16, 64 * 1024, 200};

static void test_stands_still(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	instance_put(instance, &small, 1);
	instance_put(instance, &large, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "small");
	reader_map(&reader, "large");
	must(rgm_pin(reader.slot), NULL);
	uint64_t version = rgm_slot_version(reader.slot);
	for (uint64_t generation = 2; generation < 20; generation++) {
		instance_put(instance, &small, generation);
		if (generation % 3 == 0)
			instance_put(instance, &large, generation);
		REQUIRE_EQUAL(slot_generation(reader.slot, &small), 1);
		REQUIRE_EQUAL(slot_generation(reader.slot, &large), 1);
		/* A section within it keeps its version. */
		must(rgm_pin(reader.slot), NULL);
		REQUIRE_EQUAL(rgm_slot_version(reader.slot), version);
		REQUIRE_EQUAL(slot_generation(reader.slot, &small), 1);
		must(rgm_unpin(reader.slot), NULL);
		REQUIRE_EQUAL(rgm_slot_version(reader.slot), version);
	}
	REQUIRE(rgm_current_version(reader.session) > version);
	must(rgm_unpin(reader.slot), NULL);
	REQUIRE_EQUAL(rgm_slot_version(reader.slot), 0);
	REQUIRE_EQUAL(reader_generation(&reader, &small), 19);
	REQUIRE_EQUAL(reader_generation(&reader, &large), 18);
	reader_close(&reader);
}

static void test_outside_a_section(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	struct rgm_layers view;
	struct rgm_dimension dimension = {0};
	struct rgm_dimension_info info;
	struct rgm_hold *hold = NULL;
	uint32_t cursor = 0;
	instance_put(instance, &small, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "small");
	REQUIRE_EQUAL(rgm_unpin(reader.slot), -EINVAL);
	REQUIRE_ERROR(rgm_find(reader.slot, "small", &dimension, &error), -EINVAL, &error);
	REQUIRE_ERROR(rgm_layers_open(reader.slot, "small", &view, &error), -EINVAL, &error);
	REQUIRE_ERROR(
		rgm_layers_open_dimension(reader.slot, &dimension, &view, &error), -EINVAL, &error);
	REQUIRE_ERROR(rgm_hold_take(reader.slot, &dimension, &hold, &error), -EINVAL, &error);
	REQUIRE_EQUAL(rgm_next_dimension(reader.slot, &cursor, &info), -EINVAL);
	REQUIRE(hold == NULL);
	/* And none of it left anything behind. */
	REQUIRE_EQUAL(reader_generation(&reader, &small), 1);
	REQUIRE_EQUAL(rgm_unpin(reader.slot), -EINVAL);
	REQUIRE_EQUAL(reader_generation(&reader, &small), 1);
	reader_close(&reader);
}

static uint64_t live_pages(struct instance *instance, const char *name)
{
	struct rgm_dimension_row row;
	instance_show(instance, name, &row);
	return row.live_pages;
}

/* The interval rule to the page: born <= v < retired, and nothing else. */
static void test_keeps_exactly(void **state)
{
	struct instance *instance = *state;
	struct reader first, second;
	instance_put(instance, &large, 1);
	reader_open(&first, instance, NULL);
	reader_open(&second, instance, NULL);
	reader_map(&first, "large");
	reader_map(&second, "large");
	instance_put(instance, &large, 2);
	uint64_t first_pages = live_pages(instance, "large");
	must(rgm_pin(first.slot), NULL);
	for (uint64_t generation = 3; generation < 8; generation++)
		instance_put(instance, &large, generation);
	WAIT_UNTIL(instance_retired(instance, "large") == first_pages);
	uint64_t second_pages = live_pages(instance, "large");
	must(rgm_pin(second.slot), NULL);
	for (uint64_t generation = 8; generation < 12; generation++)
		instance_put(instance, &large, generation);
	WAIT_UNTIL(instance_retired(instance, "large") == first_pages + second_pages);
	/* A page that both can see is there once: one layer changes at a time from here. */
	REQUIRE_EQUAL(slot_generation(first.slot, &large), 2);
	REQUIRE_EQUAL(slot_generation(second.slot, &large), 7);
	must(rgm_unpin(first.slot), NULL);
	WAIT_UNTIL(instance_retired(instance, "large") == second_pages);
	REQUIRE_EQUAL(slot_generation(second.slot, &large), 7);
	must(rgm_unpin(second.slot), NULL);
	instance_wait_reclaimed(instance, "large");
	struct rgm_dimension_row row;
	instance_show(instance, "large", &row);
	REQUIRE_EQUAL(row.allocated_pages, row.live_pages);
	reader_close(&first);
	reader_close(&second);
}

/* Of a change of single layers only these are kept, and the directory that names them. */
static void test_keeps_changed_layers_only(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_dimension_row row;
	instance_put(instance, &large, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "large");
	must(rgm_pin(reader.slot), NULL);
	uint64_t layer_pages = large.bytes / 4096;
	for (unsigned layer = 0; layer < 3; layer++)
		for (uint64_t generation = 2; generation < 6; generation++)
			instance_put_layer(instance, &large, layer, generation);
	instance_show(instance, "large", &row);
	uint64_t directory = row.live_pages - large.layers * layer_pages;
	WAIT_UNTIL(instance_retired(instance, "large") == 3 * layer_pages + directory);
	REQUIRE_EQUAL(slot_generation(reader.slot, &large), 1);
	must(rgm_unpin(reader.slot), NULL);
	instance_wait_reclaimed(instance, "large");
	reader_close(&reader);
}

/* What was kept is reused once nobody sees it: the file is as large after the tenth time as after the
 * second. */
static void test_space_comes_back(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_dimension_row before, after;
	instance_put(instance, &large, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "large");
	for (uint64_t generation = 2; generation < 12; generation++) {
		must(rgm_pin(reader.slot), NULL);
		instance_put(instance, &large, generation);
		REQUIRE_EQUAL(slot_generation(reader.slot, &large), generation - 1);
		must(rgm_unpin(reader.slot), NULL);
		instance_wait_reclaimed(instance, "large");
		if (generation == 3)
			instance_show(instance, "large", &before);
	}
	instance_show(instance, "large", &after);
	REQUIRE_EQUAL(after.region_bytes, before.region_bytes);
	REQUIRE_EQUAL(after.allocated_pages, before.allocated_pages);
	reader_close(&reader);
}

/* --- A reader that is stopped ------------------------------------------------------------------- */

static void stop_in_section(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "small");
	reader_map(&reader, "large");
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &large), 1);
	child_say(parent, 'p');
	child_expect(parent, 'g');
	REQUIRE_EQUAL(slot_generation(reader.slot, &large), 1);
	REQUIRE_EQUAL(slot_generation(reader.slot, &small), 1);
	must(rgm_unpin(reader.slot), NULL);
	child_say(parent, 'u');
	child_expect(parent, 'e');
	reader_close(&reader);
}

static void test_stopped_reader(void **state)
{
	struct instance *instance = *state;
	instance_put(instance, &small, 1);
	instance_put(instance, &large, 1);
	uint64_t pages = live_pages(instance, "large");
	struct child child = child_start(stop_in_section, instance);
	child_expect(&child, 'p');
	child_signal(&child, SIGSTOP);
	child_wait_stopped(&child);
	instance_put(instance, &large, 2);
	/* 10,000 versions: the ring of 4,096 goes round and skips the one in view. */
	unsigned commits = instance->manager ? 10000 : 4500;
	uint64_t version = instance_put(instance, &small, 2), first = version;
	for (unsigned i = 1; i < commits; i++)
		version = instance_put(instance, &small, 2 + i);
	REQUIRE_EQUAL(version - first, commits - 1 + commits / 4096);
	struct rgm_dimension_row row;
	struct rgm_status status;
	WAIT_UNTIL(instance_retired(instance, "large") == pages);
	instance_show(instance, "small", &row);
	uint64_t small_pages = row.live_pages;
	WAIT_UNTIL(instance_retired(instance, "small") == small_pages);
	/* With the table's few pages for that version. */
	instance_status(instance, &status);
	REQUIRE(status.retired_bytes > (pages + small_pages) * 4096);
	REQUIRE(status.retired_bytes <= (pages + small_pages + 16) * 4096);
	struct rgm_reader_row told;
	REQUIRE(instance_reader(instance, 1, &told));
	REQUIRE_EQUAL(told.sections, 1);
	REQUIRE_EQUAL(told.kept_bytes, status.retired_bytes);
	REQUIRE(told.oldest_version < first && told.oldest_version == told.newest_version);
	REQUIRE(told.age_ns > 0);
	child_signal(&child, SIGCONT);
	child_say(&child, 'g');
	child_expect(&child, 'u');
	instance_wait_reclaimed(instance, "large");
	instance_wait_reclaimed(instance, "small");
	child_say(&child, 'e');
	child_join(&child);
	instance_wait_readers(instance, 0);
}

/* --- Many threads, both forms -------------------------------------------------------------------- */

struct crowd {
	struct instance *instance;
	struct rgm_session *session;
	bool stop;
	uint64_t looks, wrong;
};

static void *look_on(void *argument)
{
	struct crowd *crowd = argument;
	struct rgm_error error;
	struct rgm_slot *slot;
	uint64_t last = 0;
	must(rgm_slot_open(crowd->session, &slot, &error), &error);
	while (!__atomic_load_n(&crowd->stop, __ATOMIC_ACQUIRE)) {
		must(rgm_pin(slot), NULL);
		uint64_t generation = slot_generation(slot, &small);
		uint64_t version = rgm_slot_version(slot);
		if (!generation || generation < last ||
			slot_generation(slot, &small) != generation ||
			rgm_slot_version(slot) != version)
			__atomic_fetch_add(&crowd->wrong, 1, __ATOMIC_RELAXED);
		last = generation;
		must(rgm_unpin(slot), NULL);
		__atomic_fetch_add(&crowd->looks, 1, __ATOMIC_RELAXED);
	}
	rgm_slot_close(slot);
	return NULL;
}

static void run_crowd(struct instance *instance, enum rgm_barrier barrier, bool expect_membarrier)
{
	struct rgm_attach_options options = {.size = sizeof options, .barrier = barrier};
	struct crowd crowd = {.instance = instance};
	struct reader reader;
	pthread_t threads[4];
	instance_put(instance, &small, 1);
	reader_open(&reader, instance, &options);
	reader_map(&reader, "small");
	crowd.session = reader.session;
	struct rgm_session_info info = {.size = sizeof info};
	must(rgm_session_info(reader.session, &info, NULL), NULL);
	REQUIRE_EQUAL(info.membarrier, expect_membarrier);
	for (int i = 0; i < 4; i++)
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, look_on, &crowd), 0);
	uint64_t generation = 1, until = support_now_ms() + 300;
	while (support_now_ms() < until || __atomic_load_n(&crowd.looks, __ATOMIC_RELAXED) < 200)
		instance_put(instance, &small, ++generation);
	__atomic_store_n(&crowd.stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	REQUIRE_EQUAL(crowd.wrong, 0);
	REQUIRE_EQUAL(reader_generation(&reader, &small), generation);
	reader_close(&reader);
	instance_wait_reclaimed(instance, "small");
}

static void test_barriers(void **state)
{
	struct instance *instance = *state;
	static const uint32_t disabled[] = {0, RGM_DISABLE_MEMBARRIER, RGM_DISABLE_PEERPIDFD,
		RGM_DISABLE_MEMBARRIER | RGM_DISABLE_PEERPIDFD};
	instance->daemon = false;
	for (size_t i = 0; i < sizeof disabled / sizeof *disabled; i++) {
		instance->options.disable = disabled[i];
		instance_start(instance);
		struct rgm_status status;
		instance_status(instance, &status);
		REQUIRE(!(disabled[i] & RGM_DISABLE_MEMBARRIER && status.membarrier));
		run_crowd(instance, RGM_BARRIER_FENCE, false);
		run_crowd(instance, RGM_BARRIER_MEMBARRIER, status.membarrier);
		instance_wait_readers(instance, 0);
		instance_stop(instance);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_stands_still),
		INSTANCE_TEST(test_outside_a_section),
		INSTANCE_TEST(test_keeps_exactly),
		INSTANCE_TEST(test_keeps_changed_layers_only),
		INSTANCE_TEST(test_space_comes_back),
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_stopped_reader),
#endif
		PREPARED_TEST(test_barriers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
