/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers that end in the middle: killed inside a section, with holds, with a child that lives on;
 * threads that exit or are cancelled. What they saw is reused as soon as nobody can see it, no sooner.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct content data = {"data", 6, 16384, 7};

struct wish {
	struct instance *instance;
	bool section, hold, child;
};

static void live_on(struct child *parent, void *context)
{
	struct rgm_hold *hold = context;
	prctl(PR_SET_PDEATHSIG, 0);
	child_say(parent, 'r');
	/* The reader dies; then the test asks through a socket of its own, inherited. */
	child_hear(parent);
	for (;;) {
		if (hold)
			REQUIRE_EQUAL(hold_generation(hold, &data), 1);
		support_sleep_ms(2);
	}
}

static void die_inside(struct child *parent, void *context)
{
	const struct wish *wish = context;
	struct reader reader;
	struct rgm_hold *hold = NULL;
	pid_t pid = 0;
	reader_open(&reader, wish->instance, NULL);
	reader_map(&reader, "data");
	if (wish->hold)
		hold = reader_take(&reader, "data");
	if (wish->child) {
		struct child child = child_start(live_on, hold);
		child_expect(&child, 'r');
		pid = child.pid;
	}
	if (wish->section)
		must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(write(parent->talk, &pid, sizeof pid), sizeof pid);
	child_hear(parent);
}

/* Kill a reader with these claims after the content was replaced. */
static pid_t kill_reader(struct instance *instance, struct wish wish)
{
	pid_t grandchild;
	wish.instance = instance;
	instance_put(instance, &data, 1);
	struct child child = child_start(die_inside, &wish);
	REQUIRE_EQUAL(
		recv(child.talk, &grandchild, sizeof grandchild, MSG_WAITALL), sizeof grandchild);
	if (grandchild)
		support_adopt(grandchild);
	instance_put(instance, &data, 2);
	instance_put(instance, &data, 3);
	if (wish.section || wish.hold) {
		support_sleep_ms(100);
		REQUIRE(instance_retired(instance, "data") > 0);
	}
	child_kill(&child);
	return grandchild;
}

static void test_killed_in_section(void **state)
{
	struct instance *instance = *state;
	kill_reader(instance, (struct wish){.section = true});
	instance_wait_reclaimed(instance, "data");
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(instance_segments(instance) == 0);
}

static void test_killed_with_hold(void **state)
{
	struct instance *instance = *state;
	kill_reader(instance, (struct wish){.hold = true});
	instance_wait_reclaimed(instance, "data");
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(instance_segments(instance) == 0);
}

/* Its sections are over with it; the session stays for what the child may still map. */
static void section_with_child(struct instance *instance)
{
	struct rgm_reader_row row;
	pid_t child = kill_reader(instance, (struct wish){.section = true, .child = true});
	instance_wait_reclaimed(instance, "data");
	WAIT_UNTIL(instance_reader(instance, 1, &row) && !row.alive);
	REQUIRE_EQUAL(kill(child, 0), 0);
	kill(child, SIGKILL);
	support_reap(child);
	instance_wait_readers(instance, 0);
}

static void test_killed_in_section_with_child(void **state)
{
	struct instance *instance = *state;
	instance_start(instance);
	if (!support_has_peerpidfd()) {
		support_tell_skip("pidfd", "this kernel has no SO_PEERPIDFD (Linux 6.5)");
		skip();
	}
	section_with_child(instance);
}

/* The hold is the child's as well: kept until it has ended, and right until then. */
static void test_killed_with_hold_and_child(void **state)
{
	struct instance *instance = *state;
	for (uint32_t disable = 0; disable <= RGM_DISABLE_PEERPIDFD;
		disable += RGM_DISABLE_PEERPIDFD) {
		instance->options.disable = disable;
		instance_start(instance);
		pid_t child = kill_reader(instance, (struct wish){.hold = true, .child = true});
		for (uint64_t generation = 4; generation < 60; generation++)
			instance_put(instance, &data, generation);
		support_sleep_ms(300);
		REQUIRE(instance_retired(instance, "data") > 0);
		REQUIRE_EQUAL(instance_readers(instance), 1);
		REQUIRE_EQUAL(kill(child, 0), 0); /* it looked all the time */
		kill(child, SIGKILL);
		support_reap(child);
		instance_wait_reclaimed(instance, "data");
		instance_wait_readers(instance, 0);
		instance_stop(instance);
	}
}

/* Without a pidfd death is told by the lock alone. */
static void test_killed_without_pidfd(void **state)
{
	struct instance *instance = *state;
	instance->daemon = false;
	instance->options.disable = RGM_DISABLE_PEERPIDFD;
	instance_start(instance);
	kill_reader(instance, (struct wish){.section = true, .hold = true});
	instance_wait_reclaimed(instance, "data");
	instance_wait_readers(instance, 0);
}

static void test_storm(void **state)
{
	struct instance *instance = *state;
	uint64_t random = support_seed();
	instance_put(instance, &data, 1);
	for (int round = 0; round < 25; round++) {
		struct wish wish = {
			.section = support_below(&random, 2), .hold = support_below(&random, 2)};
		kill_reader(instance, wish);
	}
	instance_wait_readers(instance, 0);
	instance_wait_reclaimed(instance, "data");
	WAIT_UNTIL(instance_segments(instance) == 0);
}

/* --- Threads ------------------------------------------------------------------------------------- */

struct worker {
	struct instance *instance;
	struct rgm_session *session;
	bool ready; /* atomic */
	bool waits;
};

static void ready(struct worker *worker)
{
	__atomic_store_n(&worker->ready, true, __ATOMIC_RELEASE);
}

static void *exit_inside(void *argument)
{
	struct worker *worker = argument;
	struct rgm_error error;
	struct rgm_slot *slot, *second;
	must(rgm_slot_open(worker->session, &slot, &error), &error);
	must(rgm_slot_open(worker->session, &second, &error), &error);
	must(rgm_pin(slot), NULL);
	must(rgm_pin(second), NULL);
	must(rgm_pin(second), NULL);
	ready(worker);
	pthread_exit(NULL);
}

static void *sleep_inside(void *argument)
{
	struct worker *worker = argument;
	struct rgm_error error;
	struct rgm_slot *slot;
	uint64_t version;
	must(rgm_slot_open(worker->session, &slot, &error), &error);
	must(rgm_pin(slot), NULL);
	ready(worker);
	if (worker->waits)
		rgm_wait(worker->session, UINT64_MAX, -1, &version, &error);
	else
		for (;;)
			support_sleep_ms(1000);
	return NULL;
}

static void run_thread(struct instance *instance, struct reader *reader, void *(*run)(void *),
	bool cancel, bool waits)
{
	struct worker worker = {instance, reader->session, false, waits};
	struct rgm_reader_row row;
	pthread_t thread;
	REQUIRE_EQUAL(pthread_create(&thread, NULL, run, &worker), 0);
	WAIT_UNTIL(__atomic_load_n(&worker.ready, __ATOMIC_ACQUIRE));
	if (cancel) {
		instance_put(instance, &data, 5);
		REQUIRE(instance_reader(instance, reader->number, &row));
		REQUIRE_EQUAL(row.sections, 1);
		if (waits)
			support_sleep_ms(30); /* into its sleep */
		REQUIRE_EQUAL(pthread_cancel(thread), 0);
	}
	void *result = NULL;
	pthread_join(thread, &result);
	REQUIRE(!cancel || result == PTHREAD_CANCELED);
	REQUIRE(instance_reader(instance, reader->number, &row));
	REQUIRE_EQUAL(row.sections, 0);
	/* Nothing stayed locked. */
	struct rgm_slot *slot;
	struct rgm_error error;
	must(rgm_slot_open(reader->session, &slot, &error), &error);
	must(rgm_map(reader->session, "data", &error), &error);
	rgm_slot_close(slot);
	instance_put(instance, &data, 6);
	instance_wait_reclaimed(instance, "data");
}

static void test_threads_end_inside(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {.size = sizeof options, .slots = 4};
	struct reader reader;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, &options);
	reader_map(&reader, "data");
	/* More often than there are slots. */
	for (int i = 0; i < 6; i++)
		run_thread(instance, &reader, exit_inside, false, false);
	for (int i = 0; i < 6; i++)
		run_thread(instance, &reader, sleep_inside, true, false);
	for (int i = 0; i < 3; i++)
		run_thread(instance, &reader, sleep_inside, true, true);
	REQUIRE_EQUAL(reader_generation(&reader, &data), 6);
	reader_close(&reader);
}

/* Cancelled at any point of any call, the session stays usable for the others. */
static void *use_all(void *argument)
{
	struct worker *worker = argument;
	struct rgm_error error;
	struct rgm_slot *slot;
	must(rgm_slot_open(worker->session, &slot, &error), &error);
	ready(worker);
	for (;;) {
		struct reader reader = {.session = worker->session, .slot = slot};
		struct rgm_session_info info = {.size = sizeof info};
		uint64_t version;
		struct rgm_hold *hold = reader_take(&reader, "data");
		REQUIRE_EQUAL(rgm_hold_release(hold), 0);
		must(rgm_map(worker->session, "data", &error), &error);
		must(rgm_session_info(worker->session, &info, &error), &error);
		rgm_wait(worker->session, UINT64_MAX, 0, &version, &error);
	}
	return NULL;
}

static void test_cancelled_anywhere(void **state)
{
	struct instance *instance = *state;
	uint64_t random = support_seed();
	struct rgm_attach_options options = {.size = sizeof options, .slots = 3, .holds = 1000};
	struct reader reader;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, &options);
	reader_map(&reader, "data");
	for (int round = 0; round < 60; round++) {
		struct worker worker = {instance, reader.session, false, false};
		pthread_t thread;
		REQUIRE_EQUAL(pthread_create(&thread, NULL, use_all, &worker), 0);
		WAIT_UNTIL(__atomic_load_n(&worker.ready, __ATOMIC_ACQUIRE));
		for (uint64_t spin = support_below(&random, 200000); spin; spin--)
			__asm__ volatile("");
		REQUIRE_EQUAL(pthread_cancel(thread), 0);
		pthread_join(thread, NULL);
		reader_map(&reader, "data");
		REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
	}
	reader_close(&reader);
}

int main(void)
{
	support_adopt_orphans();
	const struct CMUnitTest tests[] = {
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_killed_in_section),
		INSTANCE_TEST(test_killed_with_hold),
		PREPARED_TEST(test_killed_in_section_with_child),
		PREPARED_TEST(test_killed_with_hold_and_child),
		PREPARED_TEST(test_killed_without_pidfd),
		INSTANCE_TEST(test_storm),
#endif
		INSTANCE_TEST(test_threads_end_inside),
		INSTANCE_TEST(test_cancelled_anywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
