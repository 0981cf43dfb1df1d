/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every way out of a section, by the inlined bodies and by the library's functions alike: revoked,
 * nested, guarded, in fence form, after a fork and after a detach. The test stores the revoked words
 * itself, through the manager's table.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "regionmgr/manager/manager.h"
#include "regionmgr/manager/table.h"
#include "regionmgr/reader/reader.h"

static const struct content small = {"small", 2, 4096, 11};

/* By pointers the exported functions are called, whatever this file was compiled with. */
struct calls {
	int (*pin)(struct rgm_slot *slot);
	int (*unpin)(struct rgm_slot *slot);
};

static int pin_here(struct rgm_slot *slot)
{
	return rgm_pin(slot);
}
static int unpin_here(struct rgm_slot *slot)
{
	return rgm_unpin(slot);
}

static struct calls calls_of(int way)
{
	int (*volatile pin)(struct rgm_slot * slot) = rgm_pin;
	int (*volatile unpin)(struct rgm_slot * slot) = rgm_unpin;
	struct calls calls = {pin, unpin};
	if (way == 0)
		calls = (struct calls){pin_here, unpin_here};
	return calls;
}

static void take_back(
	const struct instance *instance, const struct rgm_session *session, uint64_t version)
{
	const uint64_t *words =
		(const void *)((const char *)session->table + session->table->revoked_offset);
	table_revoke(instance->manager->table, (uint32_t)(session->revoked - words), version);
}

/* The manager is in this process, whatever RGM_TEST_DAEMON says. */
static void start(struct instance *instance)
{
	instance->daemon = false;
	instance_start(instance);
	instance_put(instance, &small, 1);
}

static const uint64_t *word_of(const struct rgm_slot *slot)
{
	return (const void *)((const char *)slot + 524224);
}

static void play_ways(struct instance *instance, struct reader *reader, const struct calls *calls)
{
	struct rgm_slot *slot = reader->slot;
	static uint64_t generation = 1;
	uint64_t version;
	instance_put(instance, &small, generation);
	/* Sound sections, one in the other. */
	REQUIRE_EQUAL(calls->unpin(slot), -EINVAL);
	for (int i = 0; i < 3; i++) {
		for (int depth = 0; depth < 4; depth++)
			REQUIRE_EQUAL(calls->pin(slot), 0);
		version = rgm_slot_version(slot);
		REQUIRE_EQUAL(version, rgm_current_version(reader->session));
		instance_put(instance, &small, ++generation);
		for (int depth = 0; depth < 4; depth++) {
			REQUIRE_EQUAL(rgm_slot_version(slot), version);
			REQUIRE_EQUAL(slot_generation(slot, &small), generation - 1);
			REQUIRE_EQUAL(calls->unpin(slot), 0);
		}
		REQUIRE_EQUAL(rgm_slot_version(slot), 0);
		REQUIRE_EQUAL(calls->unpin(slot), -EINVAL);
	}
	/* Revoked: the section is over, and its result void. */
	REQUIRE_EQUAL(calls->pin(slot), 0);
	version = rgm_slot_version(slot);
	take_back(instance, reader->session, version);
	REQUIRE_EQUAL(calls->unpin(slot), 0); /* older ones were */
	REQUIRE_EQUAL(calls->pin(slot), 0);
	take_back(instance, reader->session, version + 1);
	REQUIRE_EQUAL(rgm_slot_version(slot), version);
	REQUIRE_EQUAL(calls->unpin(slot), RGM_EREVOKED);
	REQUIRE_EQUAL(rgm_slot_version(slot), 0);
	REQUIRE_EQUAL(calls->unpin(slot), -EINVAL);
	instance_put(instance, &small, ++generation);
	REQUIRE_EQUAL(calls->pin(slot), 0);
	REQUIRE(rgm_slot_version(slot) > version);
	REQUIRE_EQUAL(slot_generation(slot, &small), generation);
	REQUIRE_EQUAL(calls->unpin(slot), 0);
	/* Revoked inside: the outermost tells, once. */
	for (int depth = 0; depth < 3; depth++)
		REQUIRE_EQUAL(calls->pin(slot), 0);
	REQUIRE_EQUAL(calls->unpin(slot), 0);
	take_back(instance, reader->session, rgm_slot_version(slot) + 1);
	REQUIRE_EQUAL(calls->unpin(slot), 0);
	REQUIRE_EQUAL(calls->unpin(slot), RGM_EREVOKED);
	instance_put(instance, &small, ++generation);
	REQUIRE_EQUAL(calls->pin(slot), 0);
	REQUIRE_EQUAL(calls->unpin(slot), 0);
}

static void test_ways_out(void **state)
{
	struct instance *instance = *state;
	start(instance);
	static const struct {
		enum rgm_barrier barrier;
		uint32_t flags;
	} forms[] = {{RGM_BARRIER_MEMBARRIER, 0}, {RGM_BARRIER_FENCE, 0},
		{RGM_BARRIER_MEMBARRIER, RGM_ATTACH_GUARD_SIGBUS},
		{RGM_BARRIER_FENCE, RGM_ATTACH_GUARD_SIGBUS}};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct rgm_attach_options options = {.size = sizeof options,
			.barrier = forms[i].barrier,
			.flags = forms[i].flags};
		struct reader reader;
		reader_open(&reader, instance, &options);
		reader_map(&reader, "small");
		/* The words of layout 1 are what programs compiled long ago go by. */
		const struct rgm_slot_words *words = (const void *)reader.slot;
		bool fast = reader.session->membarrier && !SUPPORT_RACE_BUILD;
		REQUIRE(words->current == (fast ? &reader.session->table->current : NULL));
		REQUIRE(words->revoked == (fast ? reader.session->revoked : NULL));
		REQUIRE_EQUAL(*reader.session->revoked, 1);
		for (int way = 0; way < 2; way++) {
			struct calls calls = calls_of(way);
			play_ways(instance, &reader, &calls);
		}
		reader_close(&reader);
	}
}

/* What a look-up finds in a version that was taken back is not told: its blocks may be in use anew. */
static void test_look_ups(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {
		.size = sizeof options, .barrier = RGM_BARRIER_MEMBARRIER};
	struct rgm_dimension dimension, found = {0};
	struct rgm_dimension_info info = {.size = sizeof info};
	struct rgm_layers view, kept;
	struct rgm_hold *hold = NULL;
	struct rgm_error error;
	struct reader reader;
	uint32_t cursor = 0;
	start(instance);
	reader_open(&reader, instance, &options);
	reader_map(&reader, "small");
	REQUIRE_EQUAL(rgm_pin(reader.slot), 0);
	must(rgm_find(reader.slot, "small", &dimension, &error), &error);
	must(rgm_layers_open(reader.slot, "small", &kept, &error), &error);
	view = kept;
	take_back(instance, reader.session, rgm_slot_version(reader.slot) + 1);
	struct rgm_slot *slot = reader.slot;
	REQUIRE_ERROR(rgm_find(slot, "small", &found, &error), RGM_EREVOKED, &error);
	REQUIRE_ERROR(rgm_find(slot, "none", &found, &error), RGM_EREVOKED, &error);
	REQUIRE_ERROR(rgm_layers_open(slot, "small", &view, &error), RGM_EREVOKED, &error);
	REQUIRE_ERROR(
		rgm_layers_open_dimension(slot, &dimension, &view, &error), RGM_EREVOKED, &error);
	REQUIRE_ERROR(rgm_layers_open_dimension(slot, &found, &view, &error), RGM_EREVOKED, &error);
	REQUIRE_ERROR(rgm_hold_take(slot, &dimension, &hold, &error), RGM_EREVOKED, &error);
	REQUIRE_EQUAL(rgm_next_dimension(slot, &cursor, &info), RGM_EREVOKED);
	REQUIRE(found.id == 0 && hold == NULL && memcmp(&view, &kept, sizeof view) == 0);
	REQUIRE_EQUAL(rgm_unpin(slot), RGM_EREVOKED);
	/* What needs a look of the library's own goes on once there is a version to look at. */
	instance_put(instance, &small, 2);
	reader_map(&reader, "small");
	REQUIRE_EQUAL(reader_generation(&reader, &small), 2);
	reader_close(&reader);
}

static void *open_and_end(void *argument)
{
	struct rgm_slot *slot;
	must(rgm_slot_open(argument, &slot, NULL), NULL);
	must(rgm_pin(slot), NULL);
	return NULL;
}

/* A slot that outlived its session is of no use, and does no harm. Its memory is its thread's until then, and
 * nobody's afterwards. */
static void test_after_detach(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {
		.size = sizeof options, .slots = 300, .barrier = RGM_BARRIER_MEMBARRIER};
	struct rgm_slot *more[100];
	struct reader reader;
	pthread_t thread;
	start(instance);
	/* Once before: the C library may have such memory of its own from then on. */
	reader_open(&reader, instance, &options);
	reader_close(&reader);
	uint64_t before = support_wiped_kb();
	reader_open(&reader, instance, &options);
	uint64_t one_session = support_wiped_kb() - before;
	REQUIRE(one_session >= 300 * 64 / 1024);
	for (int i = 0; i < 100; i++)
		must(rgm_slot_open(reader.session, &more[i], NULL), NULL);
	REQUIRE_EQUAL(pthread_create(&thread, NULL, open_and_end, reader.session), 0);
	REQUIRE_EQUAL(pthread_join(thread, NULL), 0);
	rgm_session_detach(reader.session);
	instance_wait_readers(instance, 0);
	REQUIRE_EQUAL(support_wiped_kb(), before + one_session);
	for (int way = 0; way < 2; way++) {
		struct calls calls = calls_of(way);
		REQUIRE_EQUAL(calls.pin(reader.slot), -EINVAL);
		REQUIRE_EQUAL(calls.unpin(reader.slot), -EINVAL);
		REQUIRE_EQUAL(rgm_slot_version(reader.slot), 0);
	}
	for (int i = 0; i < 100; i++) {
		REQUIRE_EQUAL(rgm_pin(more[i]), -EINVAL);
		rgm_slot_close(more[i]);
	}
	/* A new session is none of the old one's. */
	struct rgm_slot *old = reader.slot;
	reader_open(&reader, instance, &options);
	REQUIRE(reader.slot != old);
	REQUIRE_EQUAL(rgm_pin(reader.slot), 0);
	REQUIRE_EQUAL(rgm_pin(old), -EINVAL);
	REQUIRE_EQUAL(support_wiped_kb(), before + 2 * one_session);
	rgm_slot_close(old);
	REQUIRE_EQUAL(support_wiped_kb(), before + one_session);
	REQUIRE_EQUAL(rgm_unpin(reader.slot), 0);
	reader_close(&reader);
	REQUIRE_EQUAL(support_wiped_kb(), before);
}

#if !SUPPORT_RACE_BUILD
/* In the middle of nested sections; no handler runs: the kernel alone wiped the slot. */
static void test_clone(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {
		.size = sizeof options, .barrier = RGM_BARRIER_MEMBARRIER};
	struct reader reader;
	int status = -1;
	start(instance);
	reader_open(&reader, instance, &options);
	REQUIRE_EQUAL(rgm_pin(reader.slot), 0);
	REQUIRE_EQUAL(rgm_pin(reader.slot), 0);
	uint64_t version = rgm_slot_version(reader.slot);
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	REQUIRE(pid >= 0);
	if (pid == 0) {
		const uint64_t *words = (const void *)reader.slot;
		bool good = true;
		for (int i = 0; i < 8; i++)
			good = good && words[i] == 0;
		for (int way = 0; way < 2; way++) {
			struct calls calls = calls_of(way);
			good = good && calls.pin(reader.slot) == RGM_EFORKED &&
			       calls.unpin(reader.slot) == RGM_EFORKED;
		}
		_exit(good && rgm_slot_version(reader.slot) == 0 ? 0 : 3);
	}
	support_adopt(pid);
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	support_forget(pid);
	REQUIRE_EQUAL(status, 0);
	REQUIRE_EQUAL(rgm_slot_version(reader.slot), version);
	REQUIRE_EQUAL(rgm_unpin(reader.slot), 0);
	REQUIRE_EQUAL(rgm_unpin(reader.slot), 0);
	REQUIRE_EQUAL(rgm_unpin(reader.slot), -EINVAL);
	reader_close(&reader);
}
#endif

/* More slots than a page has cells, opened and closed in any order. Each is so far from its word as programs
 * compiled long ago go by: the number is here, not its name. */
static void test_many_slots(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {
		.size = sizeof options, .slots = 300, .barrier = RGM_BARRIER_MEMBARRIER};
	struct rgm_slot *slots[300];
	struct rgm_error error;
	struct reader reader;
	uint64_t random = support_seed();
	start(instance);
	reader_open(&reader, instance, &options);
	slots[0] = reader.slot;
	for (int i = 1; i < 300; i++)
		must(rgm_slot_open(reader.session, &slots[i], &error), &error);
	for (int round = 0; round < 500; round++) {
		uint64_t i = support_below(&random, 300);
		rgm_slot_close(slots[i]);
		must(rgm_slot_open(reader.session, &slots[i], &error), &error);
		REQUIRE_EQUAL((uintptr_t)slots[i] % 64, 0);
	}
	for (int i = 0; i < 300; i++) {
		REQUIRE_EQUAL(rgm_slot_version(slots[i]), 0);
		for (int j = 0; j < i; j++)
			REQUIRE(slots[i] != slots[j]);
		REQUIRE_EQUAL(rgm_pin(slots[i]), 0);
		if (reader.session->membarrier && !SUPPORT_RACE_BUILD)
			REQUIRE_EQUAL(*word_of(slots[i]), rgm_slot_version(slots[i]));
	}
	for (int i = 0; i < 300; i++) {
		REQUIRE_EQUAL(rgm_unpin(slots[i]), 0);
		if (reader.session->membarrier && !SUPPORT_RACE_BUILD)
			REQUIRE_EQUAL(*word_of(slots[i]), 0);
	}
	for (int i = 1; i < 300; i++)
		rgm_slot_close(slots[i]);
	reader_close(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PREPARED_TEST(test_ways_out),
		PREPARED_TEST(test_look_ups),
		PREPARED_TEST(test_after_detach),
#if !SUPPORT_RACE_BUILD
		PREPARED_TEST(test_clone),
#endif
		PREPARED_TEST(test_many_slots),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
