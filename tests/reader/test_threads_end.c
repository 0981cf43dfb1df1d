/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that end where they are: cancelled at any instruction of a section, in a call that waits for a
 * manager which does not answer, with holds taken; the main thread before the others; all of them with the
 * process. Nothing stays locked, no section stays open, and a hold lasts as long as its session.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct content data = {"data", 5, 8192, 17};

struct worker {
	struct rgm_session *session;
	const char *name;
	bool ready; /* atomic */
	uint64_t looks;
};

static void tell_ready(struct worker *worker)
{
	__atomic_store_n(&worker->ready, true, __ATOMIC_RELEASE);
}

static void wait_ready(struct worker *worker)
{
	WAIT_UNTIL(__atomic_load_n(&worker->ready, __ATOMIC_ACQUIRE));
}

static void cancel_and_join(pthread_t thread)
{
	void *result = NULL;
	REQUIRE_EQUAL(pthread_cancel(thread), 0);
	pthread_join(thread, &result);
	REQUIRE(result == PTHREAD_CANCELED);
}

/* The session is as good as ever for those who are left. */
static void require_usable(struct instance *instance, struct reader *reader, uint32_t holds)
{
	struct rgm_reader_row row;
	struct rgm_error error;
	struct rgm_slot *slot;
	REQUIRE(instance_reader(instance, reader->number, &row));
	REQUIRE_EQUAL(row.sections, 0);
	REQUIRE_EQUAL(row.holds, holds);
	must(rgm_slot_open(reader->session, &slot, &error), &error);
	rgm_slot_close(slot);
	must(rgm_map_all(reader->session, &error), &error);
	struct rgm_hold *hold = reader_take(reader, "data");
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
}

/* --- Cancelled ------------------------------------------------------------------------------------------ */

/* Asynchronously: between any two instructions that only read. */
static void *read_for_ever(void *argument)
{
	struct worker *worker = argument;
	struct rgm_layers view;
	struct rgm_error error;
	struct rgm_slot *slot;
	const char *name;
	struct rgm_span span;
	must(rgm_slot_open(worker->session, &slot, &error), &error);
	must(rgm_pin(slot), NULL);
	must(rgm_layers_open(slot, "data", &view, &error), &error);
	tell_ready(worker);
	/* Users do. NOLINTNEXTLINE(cert-pos47-c) */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;) {
		rgm_layers_seek(&view, NULL);
		while (rgm_layers_next(&view, &name, &span))
			for (size_t i = 0; i < span.size; i++)
				worker->looks += ((const volatile unsigned char *)span.data)[i];
	}
	return NULL;
}

static void test_cancelled_asynchronously(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {.size = sizeof options, .slots = 3};
	uint64_t random = support_seed(), generation = 1;
	struct reader reader;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, &options);
	reader_map(&reader, "data");
	for (int round = 0; round < 40; round++) {
		struct worker worker = {.session = reader.session};
		pthread_t thread;
		REQUIRE_EQUAL(pthread_create(&thread, NULL, read_for_ever, &worker), 0);
		wait_ready(&worker);
		for (uint64_t spin = support_below(&random, 100000); spin; spin--)
			__asm__ volatile("");
		cancel_and_join(thread);
		instance_put(instance, &data, ++generation);
		require_usable(instance, &reader, 0);
	}
	instance_wait_reclaimed(instance, "data");
	reader_close(&reader);
}

/* Between its take and its release: the section is over, the hold is the session's. */
static void *take_and_sleep(void *argument)
{
	struct worker *worker = argument;
	struct reader reader = {.session = worker->session};
	struct rgm_error error;
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	must(rgm_pin(reader.slot), NULL);
	reader_hold(&reader, "data");
	tell_ready(worker);
	for (;;)
		support_sleep_ms(1000);
	return NULL;
}

static void test_cancelled_with_holds(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	for (uint32_t i = 0; i < 5; i++) {
		struct worker worker = {.session = reader.session};
		pthread_t thread;
		REQUIRE_EQUAL(pthread_create(&thread, NULL, take_and_sleep, &worker), 0);
		wait_ready(&worker);
		instance_put(instance, &data, 2 + i);
		cancel_and_join(thread);
		require_usable(instance, &reader, i + 1);
	}
	support_sleep_ms(50);
	REQUIRE(instance_retired(instance, "data") > 0);
	reader_close(&reader);
	instance_wait_reclaimed(instance, "data");
	instance_wait_readers(instance, 0);
}

#if !SUPPORT_RACE_BUILD
/* While a call waits for the manager, which is stopped: it takes effect when the call has returned, and
 * the connection is where it was. */
static void *map_and_sleep(void *argument)
{
	struct worker *worker = argument;
	struct rgm_error error;
	struct rgm_slot *slot;
	must(rgm_slot_open(worker->session, &slot, &error), &error);
	tell_ready(worker);
	rgm_map(worker->session, worker->name, &error);
	worker->looks = 1;
	for (;;)
		support_sleep_ms(1000);
	return NULL;
}

static void test_cancelled_in_a_call(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_session_info info = {.size = sizeof info};
	struct rgm_error error;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	for (uint32_t i = 0; i < 8; i++) {
		struct worker worker = {.session = reader.session};
		char name[16];
		pthread_t thread;
		snprintf(name, sizeof name, "other-%u", i);
		instance_create(instance, name);
		worker.name = name;
		child_signal(&instance->process, SIGSTOP);
		child_wait_stopped(&instance->process);
		REQUIRE_EQUAL(pthread_create(&thread, NULL, map_and_sleep, &worker), 0);
		wait_ready(&worker);
		support_sleep_ms(10); /* into its wait */
		REQUIRE_EQUAL(pthread_cancel(thread), 0);
		support_sleep_ms(10);
		child_signal(&instance->process, SIGCONT);
		pthread_join(thread, NULL);
		must(rgm_session_info(reader.session, &info, &error), &error);
		REQUIRE(info.manager_alive);
		REQUIRE_EQUAL(info.mapped, i ? 2 + i : 1);
		require_usable(instance, &reader, 0);
	}
	reader_close(&reader);
	instance_wait_readers(instance, 0);
}

/* --- The process ------------------------------------------------------------------------------------------ */

static void *stay_inside(void *argument)
{
	struct worker *worker = argument;
	struct reader reader = {.session = worker->session};
	struct rgm_error error;
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	must(rgm_pin(reader.slot), NULL);
	uint64_t seen = slot_generation(reader.slot, &data);
	tell_ready(worker);
	for (;;) {
		REQUIRE_EQUAL(slot_generation(reader.slot, &data), seen);
		support_sleep_ms(1);
	}
	return NULL;
}

/* The main thread ends inside a section; another one goes on. */
static struct worker left_over;
static struct child left_parent;

static void *go_on(void *argument)
{
	(void)argument;
	struct reader reader = {.session = left_over.session};
	struct rgm_error error;
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	child_say(&left_parent, 'g');
	child_expect(&left_parent, 'n');
	REQUIRE_EQUAL(reader_generation(&reader, &data), 3);
	must(rgm_map_all(reader.session, &error), &error);
	rgm_slot_close(reader.slot);
	rgm_session_detach(reader.session);
	child_say(&left_parent, 'd');
	child_hear(&left_parent);
	_exit(0);
}

static void end_main_thread(struct child *parent, void *context)
{
	struct reader reader;
	pthread_t thread;
	left_parent = *parent;
	reader_open(&reader, context, NULL);
	reader_map(&reader, "data");
	left_over.session = reader.session;
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &data), 1);
	REQUIRE_EQUAL(pthread_create(&thread, NULL, go_on, NULL), 0);
	pthread_exit(NULL);
}

static void test_main_thread_ends(void **state)
{
	struct instance *instance = *state;
	struct rgm_reader_row row;
	instance_put(instance, &data, 1);
	struct child child = child_start(end_main_thread, instance);
	child_expect(&child, 'g');
	instance_put(instance, &data, 2);
	instance_put(instance, &data, 3);
	instance_wait_reclaimed(instance, "data");
	REQUIRE(instance_reader(instance, 1, &row));
	REQUIRE(row.alive && row.sections == 0);
	child_say(&child, 'n');
	child_expect(&child, 'd');
	instance_wait_readers(instance, 0);
	child_say(&child, 'e');
	child_join(&child);
}

/* A process of many threads, each inside a section of its own version, with holds and with a child that has
 * a child: what the kill leaves is what those two may look at, and no writer waits for any of it. */
static void wait_and_look(struct child *parent, void *context)
{
	struct rgm_hold *hold = context;
	prctl(PR_SET_PDEATHSIG, 0);
	child_say(parent, 'l');
	child_hear(parent); /* nothing: the reader's end */
	for (;;) {
		REQUIRE_EQUAL(hold_generation(hold, &data), 1);
		support_sleep_ms(2);
	}
}

static void fork_and_look(struct child *parent, void *context)
{
	struct child child = child_start(wait_and_look, context);
	child_expect(&child, 'l');
	REQUIRE_EQUAL(write(parent->talk, &child.pid, sizeof child.pid), (ssize_t)sizeof child.pid);
	wait_and_look(parent, context);
}

static void live_full(struct child *parent, void *context)
{
	struct reader reader;
	struct worker workers[6];
	pid_t pids[2];
	pthread_t thread;
	reader_open(&reader, context, NULL);
	reader_map(&reader, "data");
	struct rgm_hold *hold = reader_take(&reader, "data");
	struct child child = child_start(fork_and_look, hold);
	pids[0] = child.pid;
	REQUIRE_EQUAL(
		recv(child.talk, &pids[1], sizeof pids[1], MSG_WAITALL), (ssize_t)sizeof pids[1]);
	child_expect(&child, 'l');
	REQUIRE_EQUAL(write(parent->talk, pids, sizeof pids), (ssize_t)sizeof pids);
	for (int i = 0; i < 6; i++) {
		workers[i] = (struct worker){.session = reader.session};
		REQUIRE_EQUAL(pthread_create(&thread, NULL, stay_inside, &workers[i]), 0);
		wait_ready(&workers[i]);
		child_say(parent, 'i');
		child_expect(parent, 'n');
	}
	child_hear(parent);
}

static void test_killed_with_everything(void **state)
{
	struct instance *instance = *state;
	struct rgm_reader_row row;
	struct rgm_dimension_row dimension;
	pid_t pids[2];
	uint64_t generation = 1;
	if (!support_has_peerpidfd()) {
		support_tell_skip("pidfd", "this kernel has no SO_PEERPIDFD (Linux 6.5)");
		skip();
	}
	instance_put(instance, &data, 1);
	struct child child = child_start(live_full, instance);
	REQUIRE_EQUAL(recv(child.talk, pids, sizeof pids, MSG_WAITALL), (ssize_t)sizeof pids);
	support_adopt(pids[0]);
	support_adopt(pids[1]);
	for (int i = 0; i < 6; i++) {
		child_expect(&child, 'i');
		instance_put(instance, &data, ++generation);
		child_say(&child, 'n');
	}
	REQUIRE(instance_reader(instance, 1, &row));
	REQUIRE(row.sections == 6 && row.holds == 1);
	child_kill(&child);
	for (int i = 0; i < 100; i++)
		instance_put(instance, &data, ++generation);
	/* Its child and that one's child look on under the hold; of the sections nothing is kept. */
	instance_show(instance, "data", &dimension);
	WAIT_UNTIL((instance_show(instance, "data", &dimension), dimension.retired_pages) <=
		   dimension.live_pages);
	REQUIRE(dimension.retired_pages > 0);
	REQUIRE(instance_reader(instance, 1, &row));
	REQUIRE(row.holds == 1 && row.sections == 0);
	for (int i = 0; i < 2; i++) {
		support_sleep_ms(250);
		REQUIRE(instance_retired(instance, "data") > 0);
		REQUIRE_EQUAL(kill(pids[i], 0), 0);
		kill(pids[i], SIGKILL);
		support_reap(pids[i]);
	}
	instance_wait_reclaimed(instance, "data");
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(instance_segments(instance) == 0);
}

/* It ends by itself, threads inside and all. */
static void leave(struct child *parent, void *context)
{
	struct reader reader;
	struct worker worker;
	pthread_t thread;
	reader_open(&reader, context, NULL);
	reader_map(&reader, "data");
	worker = (struct worker){.session = reader.session};
	REQUIRE_EQUAL(pthread_create(&thread, NULL, stay_inside, &worker), 0);
	wait_ready(&worker);
	must(rgm_pin(reader.slot), NULL);
	reader_hold(&reader, "data");
	child_say(parent, 'i');
	child_expect(parent, 'e');
}

static void test_process_leaves(void **state)
{
	struct instance *instance = *state;
	for (uint64_t generation = 1; generation < 10; generation++) {
		instance_put(instance, &data, generation);
		struct child child = child_start(leave, instance);
		child_expect(&child, 'i');
		instance_put(instance, &data, generation);
		support_sleep_ms(20);
		REQUIRE(instance_retired(instance, "data") > 0);
		child_say(&child, 'e');
		child_join(&child);
		instance_wait_readers(instance, 0);
		instance_wait_reclaimed(instance, "data");
	}
}
#endif

int main(void)
{
	support_adopt_orphans();
	support_let_children_live(true);
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_cancelled_asynchronously),
		INSTANCE_TEST(test_cancelled_with_holds),
#if !SUPPORT_RACE_BUILD
		cmocka_unit_test_setup_teardown(
			test_cancelled_in_a_call, instance_setup_daemon, instance_teardown),
		INSTANCE_TEST(test_main_thread_ends),
		INSTANCE_TEST(test_killed_with_everything),
		INSTANCE_TEST(test_process_leaves),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
