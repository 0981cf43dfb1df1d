/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager's beginning and end: one an instance, a clean stop that loses nothing, a kill that serves
 * nothing wrong, readers that outlive it, and processes that forked from it.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct content one = {"one", 5, 8192, 10};
static const struct content two = {"two", 7, 4096, 20};

static const char *state_of(struct instance *instance, const char *name)
{
	static struct rgm_dimension_row row;
	instance_show(instance, name, &row);
	return strcmp(row.state, "serving") == 0 ? "" : row.reason;
}

static uint64_t generation_of(struct instance *instance, const struct content *content)
{
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, content->dimension);
	uint64_t generation = reader_generation(&reader, content);
	reader_close(&reader);
	instance_wait_readers(instance, 0);
	return generation;
}

/* --- Clean ---------------------------------------------------------------------------------------- */

static void test_stop_and_start(void **state)
{
	struct instance *instance = *state;
	struct rgm_status before, after;
	struct rgm_dimension_row row, again;
	char id[sizeof instance->id];
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	instance_put(instance, &one, 2);
	instance_create(instance, "empty");
	instance_rename(instance, "two", "zwei");
	instance_rename(instance, "zwei", "two");
	for (int round = 0; round < 5; round++) {
		instance_status(instance, &before);
		instance_show(instance, "one", &row);
		memcpy(id, instance->id, sizeof id);
		instance_stop(instance);
		instance_start(instance);
		instance_status(instance, &after);
		instance_show(instance, "one", &again);
		REQUIRE(strcmp(id, instance->id) == 0);
		REQUIRE_EQUAL(after.dimensions, 3);
		REQUIRE_EQUAL(after.refused, 0);
		REQUIRE(after.version >= before.version);
		REQUIRE_EQUAL(again.id, row.id);
		REQUIRE_EQUAL(again.version, row.version);
		REQUIRE_EQUAL(again.generation, row.generation);
		REQUIRE_EQUAL(again.bytes, row.bytes);
		REQUIRE_EQUAL(again.allocated_pages, again.live_pages);
		REQUIRE_EQUAL(generation_of(instance, &one), 2 + (uint64_t)round);
		REQUIRE_EQUAL(generation_of(instance, &two), 1);
		/* And it can be changed. */
		REQUIRE(instance_put(instance, &one, 3 + (uint64_t)round) > before.version);
	}
}

/* A start and a stop without a change leave the region files as they are. */
static void test_untouched(void **state)
{
	struct instance *instance = *state;
	struct rgm_dimension_row row;
	struct stat before, after;
	char path[256];
	instance_put(instance, &one, 1);
	instance_show(instance, "one", &row);
	snprintf(path, sizeof path, "%s/%s", instance->folder, row.file);
	instance_stop(instance);
	REQUIRE_EQUAL(stat(path, &before), 0);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
	instance_stop(instance);
	REQUIRE_EQUAL(stat(path, &after), 0);
	REQUIRE(before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
		before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
	REQUIRE_EQUAL(before.st_size, after.st_size);
}

/* Loads that are not committed are not there after the stop, and neither is their file. */
static void test_stop_during_a_load(void **state)
{
	struct instance *instance = *state;
	if (!instance->manager)
		return;
	struct rgm_load_options options = {.size = sizeof options, .flags = RGM_LOAD_CREATE};
	struct rgm_writer *writer;
	struct rgm_error error;
	instance_put(instance, &one, 1);
	must(rgm_writer_begin(instance->manager, "half", &options, &writer, &error), &error);
	must(rgm_writer_put(writer, "layer", "x", 1, NULL, &error), &error);
	rgm_writer_abort(writer);
	instance_stop(instance);
	instance_start(instance);
	struct rgm_status status;
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, 1);
}

/* --- One an instance -------------------------------------------------------------------------------- */

static void test_second_is_refused(void **state)
{
	struct instance *instance = *state;
	struct rgm_manager_options options = {.size = sizeof options,
		.instance = instance->name,
		.dir = instance->folder,
		.socket = instance->socket};
	struct rgm_manager *second = NULL;
	struct rgm_error error;
	struct stat before, after;
	instance_put(instance, &one, 1);
	REQUIRE_EQUAL(stat(instance->folder, &before), 0);
	for (int i = 0; i < 20; i++) {
		uint64_t start = support_now_ms();
		REQUIRE_ERROR(rgm_manager_open(&options, &second, &error), RGM_EINUSE, &error);
		REQUIRE(support_now_ms() - start < 5000); /* no timeout in it */
		REQUIRE(second == NULL);
		REQUIRE(strstr(error.message, instance->name) != NULL);
	}
	REQUIRE_EQUAL(stat(instance->folder, &after), 0);
	REQUIRE(before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
		before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
	/* The first goes on, the socket is still its own. */
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
	instance_put(instance, &one, 2);
	REQUIRE_EQUAL(generation_of(instance, &one), 2);
}

struct race {
	struct instance *instance;
	struct rgm_manager *manager;
	int rc;
};

static void *try_open(void *argument)
{
	struct race *race = argument;
	struct rgm_manager_options options = {.size = sizeof options,
		.instance = race->instance->name,
		.dir = race->instance->folder,
		.socket = race->instance->socket};
	struct rgm_error error;
	race->rc = rgm_manager_open(&options, &race->manager, &error);
	return NULL;
}

static void test_many_at_once(void **state)
{
	struct instance *instance = *state;
	for (int round = 0; round < 5; round++) {
		struct race races[8];
		pthread_t threads[8];
		unsigned winners = 0;
		for (int i = 0; i < 8; i++) {
			races[i] = (struct race){.instance = instance};
			REQUIRE_EQUAL(pthread_create(&threads[i], NULL, try_open, &races[i]), 0);
		}
		for (int i = 0; i < 8; i++)
			pthread_join(threads[i], NULL);
		for (int i = 0; i < 8; i++) {
			REQUIRE(races[i].rc == 0 || races[i].rc == RGM_EINUSE);
			winners += races[i].rc == 0;
			struct rgm_error error;
			if (races[i].rc == 0)
				must(rgm_manager_close(races[i].manager, &error), &error);
		}
		REQUIRE_EQUAL(winners, 1);
	}
}

/* Fewer dimensions allowed than there are: refused with a sentence, nothing lost. */
static void test_limit_below_what_is_there(void **state)
{
	struct instance *instance = *state;
	struct rgm_error error;
	char name[16];
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof name, "d%d", i);
		instance_create(instance, name);
	}
	instance_stop(instance);
	if (instance->daemon)
		return;
	instance->options.max_dimensions = 4;
	REQUIRE_ERROR(instance_start_fails(instance, &error), RGM_ELIMIT, &error);
	instance->options.max_dimensions = 5;
	instance_start(instance);
	REQUIRE_ERROR(
		rgm_manager_create(instance->manager, "d6", NULL, &error), RGM_ELIMIT, &error);
	instance_drop(instance, "d0");
	instance_create(instance, "d6");
}

/* --- Killed ----------------------------------------------------------------------------------------- */

/* Without what it left in shared memory nobody knows what the files of a killed manager hold. */
static void test_killed_after_a_change(void **state)
{
	struct instance *instance = *state;
	struct rgm_status status;
	struct rgm_error error;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	instance_stop(instance);
	instance_start(instance);
	struct rgm_status before;
	instance_put(instance, &one, 2);
	instance_status(instance, &before);
	instance_kill(instance);
	REQUIRE_EQUAL(instance_lose_names(instance), 3);
	instance_start(instance);
	instance_status(instance, &status);
	REQUIRE(status.version > before.version);
	REQUIRE_EQUAL(status.dimensions, 2);
	REQUIRE_EQUAL(status.refused, 1);
	REQUIRE(strlen(state_of(instance, "one")) > 20);
	REQUIRE_EQUAL(strlen(state_of(instance, "two")), 0);
	REQUIRE_EQUAL(generation_of(instance, &two), 1);
	/* Not served, not added to; dropped it can be, or loaded anew as a whole. */
	struct reader reader;
	reader_open(&reader, instance, NULL);
	REQUIRE_ERROR(rgm_map(reader.session, "one", &error), RGM_ENODIM, &error);
	reader_close(&reader);
	struct rgm_control *control;
	struct rgm_control_options at = {.size = sizeof at, .socket = instance->socket};
	struct rgm_load *load;
	struct rgm_load_options add = {.size = sizeof add, .flags = RGM_LOAD_CREATE};
	must(rgm_control_open(instance->name, &at, &control, &error), &error);
	REQUIRE_ERROR(rgm_load_begin(control, "one", &add, &load, &error), RGM_EDIRTY, &error);
	rgm_control_close(control);
	instance_put(instance, &two, 2);
	instance_stop(instance);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &two), 2);
	REQUIRE(strlen(state_of(instance, "one")) > 20);
	instance_put(instance, &one, 4);
	REQUIRE_EQUAL(generation_of(instance, &one), 4);
	REQUIRE_EQUAL(strlen(state_of(instance, "one")), 0);
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, 2);
	REQUIRE_EQUAL(status.refused, 0);
	instance_drop(instance, "one");
	instance_stop(instance);
	instance_start(instance);
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, 1);
	/* Attached sessions of the killed one left their names: gone with this one's end. */
}

/* Region files without a catalog are somebody's data: the start refuses, and touches none of them. */
static void test_catalog_is_missing(void **state)
{
	struct instance *instance = *state;
	struct rgm_error error;
	char path[512], aside[512];
	instance_put(instance, &one, 1);
	instance_stop(instance);
	snprintf(path, sizeof path, "%s/catalog", instance->folder);
	snprintf(aside, sizeof aside, "%s/catalog.aside", instance->folder);
	REQUIRE_EQUAL(rename(path, aside), 0);
	REQUIRE_ERROR(instance_start_fails(instance, &error), RGM_ECORRUPT, &error);
	REQUIRE(strlen(error.hint) > 10);
	REQUIRE_EQUAL(rename(aside, path), 0);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
}

static void attach_and_wait(struct child *parent, void *context)
{
	struct reader reader;
	struct instance *instance = context;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "one");
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &one), 1);
	child_say(parent, 'p');
	for (;;) {
		char word = child_hear(parent);
		REQUIRE_EQUAL(slot_generation(reader.slot, &one), 1);
		if (word == 'e')
			break;
		child_say(parent, 'l');
	}
	reader_close(&reader);
}

/* Sessions of a killed manager of which nothing can be known: they read on, and keep what they map from
 * being served. */
static void test_killed_with_readers(void **state)
{
	struct instance *instance = *state;
	struct child children[3];
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	instance_stop(instance);
	instance_start(instance);
	for (int i = 0; i < 3; i++) {
		children[i] = child_start(attach_and_wait, instance);
		child_expect(&children[i], 'p');
	}
	instance_kill(instance);
	REQUIRE_EQUAL(instance_segments(instance), 3);
	instance_lose_names(instance);
	instance_start(instance);
	/* Of the old run nothing is left but what its readers map. */
	WAIT_UNTIL(instance_segments(instance) == 0);
	REQUIRE_EQUAL(generation_of(instance, &two), 1);
	REQUIRE(strlen(state_of(instance, "one")) > 20);
	for (int i = 0; i < 3; i++) {
		child_say(&children[i], 'l');
		child_expect(&children[i], 'l');
		child_say(&children[i], 'e');
		child_join(&children[i]);
	}
	WAIT_UNTIL(strlen(state_of(instance, "one")) == 0);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
}

/* --- Readers that outlive it -------------------------------------------------------------------------- */

static void outlive(struct instance *instance, bool only_one)
{
	instance_put(instance, &one, 1);
	if (!only_one)
		instance_put(instance, &two, 1);
	struct child child = child_start(attach_and_wait, instance);
	child_expect(&child, 'p');
	/* Retired, and seen by the reader: the next manager must not write there. */
	instance_put(instance, &one, 2);
	instance_stop(instance);
	child_say(&child, 'l');
	child_expect(&child, 'l');
	instance_start(instance);
	REQUIRE(strlen(state_of(instance, "one")) > 20);
	if (!only_one) {
		REQUIRE_EQUAL(strlen(state_of(instance, "two")), 0);
		for (uint64_t generation = 2; generation < 30; generation++)
			instance_put(instance, &two, generation);
	}
	support_sleep_ms(1100); /* some tries to open it anew go by */
	REQUIRE(strlen(state_of(instance, "one")) > 20);
	child_say(&child, 'l');
	child_expect(&child, 'l');
	child_say(&child, 'e');
	child_join(&child);
	WAIT_UNTIL(strlen(state_of(instance, "one")) == 0);
	REQUIRE_EQUAL(generation_of(instance, &one), 2);
	instance_put(instance, &one, 3);
	REQUIRE_EQUAL(generation_of(instance, &one), 3);
}

static void test_readers_outlive_it(void **state)
{
	outlive(*state, false);
}

/* Nothing else is served that would wake anybody. */
static void test_readers_outlive_it_alone(void **state)
{
	outlive(*state, true);
}

/* The names in shared memory vanish, as systemd's RemoveIPC does it: who is attached goes on, who comes is
 * served, and the end is as clean as ever. */
static void test_names_are_unlinked(void **state)
{
	struct instance *instance = *state;
	struct reader reader, late;
	char path[128];
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	reader_open(&reader, instance, NULL);
	snprintf(path, sizeof path, "/dev/shm/regionmgr.%s.table", instance->id);
	REQUIRE_EQUAL(unlink(path), 0);
	snprintf(path, sizeof path, "/dev/shm/regionmgr.%s.s.1", instance->id);
	REQUIRE_EQUAL(unlink(path), 0);
	reader_map(&reader, "one");
	must(rgm_pin(reader.slot), NULL);
	instance_put(instance, &one, 2);
	REQUIRE_EQUAL(slot_generation(reader.slot, &one), 1);
	support_sleep_ms(50);
	REQUIRE(instance_retired(instance, "one") > 0);
	must(rgm_unpin(reader.slot), NULL);
	instance_wait_reclaimed(instance, "one");
	REQUIRE_EQUAL(reader_generation(&reader, &one), 2);
	reader_open(&late, instance, NULL);
	reader_map(&late, "one");
	REQUIRE_EQUAL(reader_generation(&late, &one), 2);
	reader_close(&late);
	reader_close(&reader);
	instance_wait_readers(instance, 0);
	instance_stop(instance);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &one), 2);
}

/* --- Forks of an embedded manager ----------------------------------------------------------------------- */

static void be_a_copy(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct rgm_error error;
	uint64_t version;
	REQUIRE_ERROR(
		rgm_manager_create(instance->manager, "x", NULL, &error), RGM_EFORKED, &error);
	REQUIRE_ERROR(rgm_manager_drop(instance->manager, "one", false, NULL, &error), RGM_EFORKED,
		&error);
	REQUIRE_ERROR(
		rgm_manager_rename(instance->manager, "one", "x", &error), RGM_EFORKED, &error);
	REQUIRE_ERROR(instance_try_put(instance, &one, 9, &version, &error), RGM_EFORKED, &error);
	REQUIRE_ERROR(rgm_manager_close(instance->manager, &error), RGM_EFORKED, &error);
	child_say(parent, 'c');
	child_expect(parent, 'e');
}

/* The child's copy is dead, keeps no lock and no connection, and stands in the way of nobody. */
static void test_fork_of_the_manager(void **state)
{
	struct instance *instance = *state;
	if (!instance->manager)
		return;
	instance_put(instance, &one, 1);
	struct child child = child_start(be_a_copy, instance);
	child_expect(&child, 'c');
	instance_put(instance, &one, 2);
	instance_stop(instance);
	instance_start(instance);
	REQUIRE_EQUAL(strlen(state_of(instance, "one")), 0);
	REQUIRE_EQUAL(generation_of(instance, &one), 2);
	child_say(&child, 'e');
	child_join(&child);
}

static void wait_for_ever(struct child *parent, void *context)
{
	(void)context;
	prctl(PR_SET_PDEATHSIG, 0);
	child_say(parent, 'r');
	child_hear(parent);
	/* Its parent is gone: it stays nevertheless. */
	for (;;)
		pause();
}

/* A process that embeds the manager, and forks a worker that outlives it. */
static void host_and_fork(struct child *parent, void *context)
{
	struct instance *instance = context;
	instance_start(instance);
	struct child worker = child_start(wait_for_ever, NULL);
	child_expect(&worker, 'r');
	dprintf(parent->talk, "%d\n", (int)worker.pid);
	child_hear(parent);
}

static void *hear_hang_up(void *argument)
{
	struct reader *reader = argument;
	struct rgm_error error;
	uint64_t version;
	REQUIRE_ERROR(rgm_wait(reader->session, rgm_current_version(reader->session), -1, &version,
			      &error),
		RGM_EGONE, &error);
	return NULL;
}

static void test_worker_outlives_its_manager(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	char line[32] = "";
	pthread_t thread;
	instance->daemon = false;
	instance_start(instance);
	instance_put(instance, &one, 1);
	instance_stop(instance);
	struct child host = child_start(host_and_fork, instance);
	ssize_t got = recv(host.talk, line, sizeof line - 1, 0);
	REQUIRE(got > 1);
	pid_t worker = (pid_t)atoi(line);
	support_adopt(worker);
	reader_open(&reader, instance, NULL);
	REQUIRE_EQUAL(pthread_create(&thread, NULL, hear_hang_up, &reader), 0);
	child_signal(&host, SIGSTOP);
	child_wait_stopped(&host);
	child_signal(&host, SIGKILL);
	support_reap(host.pid);
	close(host.talk);
	REQUIRE_EQUAL(kill(worker, 0), 0);
	pthread_join(thread, NULL);
	reader_close(&reader);
	instance_start(instance);
	REQUIRE_EQUAL(strlen(state_of(instance, "one")), 0);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
	REQUIRE_EQUAL(kill(worker, SIGKILL), 0);
	support_reap(worker);
}

int main(void)
{
	support_adopt_orphans();
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_stop_and_start),
		INSTANCE_TEST(test_untouched),
		INSTANCE_TEST(test_stop_during_a_load),
		INSTANCE_TEST(test_second_is_refused),
		PREPARED_TEST(test_many_at_once),
		INSTANCE_TEST(test_limit_below_what_is_there),
		INSTANCE_TEST(test_names_are_unlinked),
		INSTANCE_TEST(test_catalog_is_missing),
#if !SUPPORT_RACE_BUILD
		cmocka_unit_test_setup_teardown(
			test_killed_after_a_change, instance_setup_daemon, instance_teardown),
		cmocka_unit_test_setup_teardown(
			test_killed_with_readers, instance_setup_daemon, instance_teardown),
		INSTANCE_TEST(test_readers_outlive_it),
		INSTANCE_TEST(test_readers_outlive_it_alone),
		INSTANCE_TEST(test_fork_of_the_manager),
		PREPARED_TEST(test_worker_outlives_its_manager),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
