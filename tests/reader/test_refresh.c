/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views that are used again: rgm_layers_refresh() at the same version, after changes, renames and drops,
 * with other slots, holds and guards, inlined and called.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <pthread.h>

#include "regionmgr/reader/reader.h"

static const struct content one = {"one", 3, 4096, 21};
static const struct content two = {"two", 2, 8192, 22};

typedef int refresh_call(struct rgm_slot *slot, struct rgm_layers *layers, struct rgm_error *error);

static int refresh_here(struct rgm_slot *slot, struct rgm_layers *layers, struct rgm_error *error)
{
	return rgm_layers_refresh(slot, layers, error);
}

static refresh_call *call_of(int way)
{
	refresh_call *volatile called = rgm_layers_refresh;
	return way ? called : refresh_here;
}

static const struct rgm_attach_options forms[] = {
	{.size = sizeof forms[0], .barrier = RGM_BARRIER_MEMBARRIER},
	{.size = sizeof forms[0], .barrier = RGM_BARRIER_FENCE},
	{.size = sizeof forms[0],
		.barrier = RGM_BARRIER_MEMBARRIER,
		.flags = RGM_ATTACH_GUARD_SIGBUS},
};
#define FORMS (sizeof forms / sizeof *forms)

/* From the first layer, all of them, whatever the position and prefix were. */
static void test_from_the_first(void **state)
{
	struct instance *instance = *state;
	for (unsigned form = 0; form < FORMS * 2; form++) {
		refresh_call *refresh = call_of(form % 2);
		struct reader reader;
		struct rgm_layers view;
		struct rgm_layer layer;
		struct rgm_error error;
		instance_put(instance, &one, 1);
		reader_open(&reader, instance, &forms[form / 2]);
		reader_map(&reader, "one");
		must(rgm_pin(reader.slot), NULL);
		must(rgm_layers_open(reader.slot, "one", &view, &error), &error);
		for (int steps = 0; steps < 5; steps++) {
			must(refresh(reader.slot, &view, &error), &error);
			for (int i = 0; i < steps; i++)
				REQUIRE_EQUAL(rgm_layers_next_layer(&view, &layer), i < 3);
			must(refresh(reader.slot, &view, &error), &error);
			REQUIRE(rgm_layers_next_layer(&view, &layer));
			REQUIRE(strcmp(layer.name, "layer-0000") == 0);
			rgm_layers_seek(&view, "layer-0002");
			REQUIRE(rgm_layers_next_layer(&view, &layer));
			REQUIRE(!rgm_layers_next_layer(&view, &layer));
			/* Into the next section, at the same version. */
			must(rgm_unpin(reader.slot), NULL);
			must(rgm_pin(reader.slot), NULL);
		}
		must(refresh(reader.slot, &view, &error), &error);
		REQUIRE_EQUAL(rgm_layers_count(&view), 3);
		REQUIRE_EQUAL(view_generation(&view, &one), 1);
		must(rgm_unpin(reader.slot), NULL);
		reader_close(&reader);
	}
}

static void test_follows_changes(void **state)
{
	struct instance *instance = *state;
	for (unsigned form = 0; form < FORMS * 2; form++) {
		refresh_call *refresh = call_of(form % 2);
		struct reader reader;
		struct rgm_layers view, other, before;
		struct rgm_error error;
		instance_put(instance, &one, 1);
		instance_put(instance, &two, 1);
		reader_open(&reader, instance, &forms[form / 2]);
		must(rgm_map_all(reader.session, &error), &error);
		must(rgm_pin(reader.slot), NULL);
		must(rgm_layers_open(reader.slot, "one", &view, &error), &error);
		must(rgm_layers_open(reader.slot, "two", &other, &error), &error);
		must(rgm_unpin(reader.slot), NULL);
		for (uint64_t generation = 2; generation < 10; generation++) {
			instance_put(instance, &one, generation);
			must(rgm_pin(reader.slot), NULL);
			must(refresh(reader.slot, &view, &error), &error);
			must(refresh(reader.slot, &other, &error), &error);
			REQUIRE_EQUAL(rgm_layers_version(&view), rgm_slot_version(reader.slot));
			/* The section's version, not the newest. */
			instance_put(instance, &one, 100 + generation);
			must(rgm_pin(reader.slot), NULL);
			must(refresh(reader.slot, &view, &error), &error);
			REQUIRE_EQUAL(view_generation(&view, &one), generation);
			REQUIRE_EQUAL(view_generation(&other, &two), 1);
			must(rgm_unpin(reader.slot), NULL);
			must(rgm_unpin(reader.slot), NULL);
		}
		/* It is the dimension that it follows, not the name. */
		instance_rename(instance, "one", "uno");
		must(rgm_pin(reader.slot), NULL);
		must(refresh(reader.slot, &view, &error), &error);
		REQUIRE_EQUAL(view_generation(&view, &one), 109);
		must(rgm_unpin(reader.slot), NULL);
		instance_drop(instance, "uno");
		instance_put(instance, &one, 3);
		must(rgm_map_all(reader.session, &error), &error);
		must(rgm_pin(reader.slot), NULL);
		before = view;
		REQUIRE_ERROR(refresh(reader.slot, &view, &error), RGM_ENODIM, &error);
		REQUIRE(memcmp(&view, &before, sizeof view) == 0);
		must(refresh(reader.slot, &other, &error), &error);
		REQUIRE_EQUAL(view_generation(&other, &two), 1);
		must(rgm_unpin(reader.slot), NULL);
		instance_drop(instance, "one");
		instance_drop(instance, "two");
		reader_close(&reader);
	}
}

/* What was never opened, the wrong moment, the other slot, and a view under a hold. */
static void test_edges(void **state)
{
	struct instance *instance = *state;
	for (unsigned form = 0; form < FORMS * 2; form++) {
		refresh_call *refresh = call_of(form % 2);
		struct reader reader;
		struct rgm_layers view, nothing = {0};
		struct rgm_slot *second;
		struct rgm_error error;
		instance_put(instance, &one, 1);
		reader_open(&reader, instance, &forms[form / 2]);
		reader_map(&reader, "one");
		must(rgm_slot_open(reader.session, &second, &error), &error);
		REQUIRE_ERROR(refresh(reader.slot, &nothing, &error), -EINVAL, &error);
		must(rgm_pin(reader.slot), NULL);
		REQUIRE_ERROR(refresh(reader.slot, &nothing, &error), RGM_ENODIM, &error);
		must(rgm_layers_open(reader.slot, "one", &view, &error), &error);
		struct rgm_hold *hold = reader_hold(&reader, "one");
		must(rgm_unpin(reader.slot), NULL);
		REQUIRE_ERROR(refresh(reader.slot, &view, &error), -EINVAL, &error);
		instance_put(instance, &one, 2);
		must(rgm_pin(second), NULL);
		REQUIRE_ERROR(refresh(reader.slot, &view, &error), -EINVAL, &error);
		must(refresh(second, &view, &error), &error);
		REQUIRE_EQUAL(view_generation(&view, &one), 2);
		/* A hold's view leaves the hold for the section. */
		must(rgm_layers_open_hold(hold, &view, &error), &error);
		REQUIRE_EQUAL(view_generation(&view, &one), 1);
		must(refresh(second, &view, &error), &error);
		REQUIRE_EQUAL(view_generation(&view, &one), 2);
		must(rgm_unpin(second), NULL);
		REQUIRE_EQUAL(rgm_hold_release(hold), 0);
		reader_close(&reader);
	}
}

/* In a guarded session a view that is refreshed counts as one that is opened: its unpin looks. */
static void test_guarded(void **state)
{
	struct instance *instance = *state;
	for (int way = 0; way < 2; way++) {
		struct reader reader;
		struct rgm_layers view;
		struct rgm_error error;
		instance_put(instance, &one, 1);
		reader_open(&reader, instance, &forms[2]);
		reader_map(&reader, "one");
		must(rgm_pin(reader.slot), NULL);
		must(rgm_layers_open(reader.slot, "one", &view, &error), &error);
		must(rgm_unpin(reader.slot), NULL);
		must(rgm_pin(reader.slot), NULL);
		REQUIRE(!reader.slot->state->guarded);
		must(call_of(way)(reader.slot, &view, &error), &error);
		REQUIRE(reader.slot->state->guarded);
		/* A fault anywhere, as the handler counts it. */
		reader.slot->state->hits--;
		REQUIRE_EQUAL(rgm_unpin(reader.slot), RGM_EIO);
		must(rgm_pin(reader.slot), NULL);
		REQUIRE_EQUAL(rgm_unpin(reader.slot), 0);
		reader_close(&reader);
	}
}

/* Threads with views of their own, under a writer and under drops. */
struct crowd {
	struct rgm_session *session;
	bool stop;             /* atomic */
	uint64_t looks, wrong; /* atomic */
};

static void *look_again(void *argument)
{
	struct crowd *crowd = argument;
	struct rgm_layers view = {0};
	struct rgm_error error;
	struct rgm_slot *slot;
	uint64_t last = 0;
	must(rgm_slot_open(crowd->session, &slot, &error), &error);
	must(rgm_pin(slot), NULL);
	must(rgm_layers_open(slot, "one", &view, &error), &error);
	must(rgm_unpin(slot), NULL);
	while (!__atomic_load_n(&crowd->stop, __ATOMIC_ACQUIRE)) {
		must(rgm_pin(slot), NULL);
		must(rgm_layers_refresh(slot, &view, &error), &error);
		uint64_t generation = view_generation(&view, &one);
		if (generation == 0 || generation < last)
			__atomic_fetch_add(&crowd->wrong, 1, __ATOMIC_RELAXED);
		last = generation;
		must(rgm_unpin(slot), NULL);
		__atomic_fetch_add(&crowd->looks, 1, __ATOMIC_RELAXED);
	}
	rgm_slot_close(slot);
	return NULL;
}

static void test_crowd(void **state)
{
	struct instance *instance = *state;
	for (unsigned form = 0; form < 2; form++) {
		struct crowd crowd = {0};
		struct reader reader;
		pthread_t threads[3];
		uint64_t generation = 1, until;
		instance_put(instance, &one, 1);
		reader_open(&reader, instance, &forms[form]);
		reader_map(&reader, "one");
		crowd.session = reader.session;
		for (int i = 0; i < 3; i++)
			REQUIRE_EQUAL(pthread_create(&threads[i], NULL, look_again, &crowd), 0);
		until = support_now_ms() + 300;
		while (support_now_ms() < until ||
			__atomic_load_n(&crowd.looks, __ATOMIC_RELAXED) < 500)
			instance_put(instance, &one, ++generation);
		__atomic_store_n(&crowd.stop, true, __ATOMIC_RELEASE);
		for (int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		REQUIRE_EQUAL(crowd.wrong, 0);
		reader_close(&reader);
		instance_wait_reclaimed(instance, "one");
		instance_drop(instance, "one");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_from_the_first),
		INSTANCE_TEST(test_follows_changes),
		INSTANCE_TEST(test_edges),
		INSTANCE_TEST(test_guarded),
		INSTANCE_TEST(test_crowd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
