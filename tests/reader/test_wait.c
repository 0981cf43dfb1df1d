/* SPDX-License-Identifier: Apache-2.0 */
/* rgm_wait(): woken by every publish, by the manager's stop and by its death; by nothing else. */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

static const struct content data = {"data", 1, 4096, 51};

struct sleeper {
	struct instance *instance;
	struct rgm_session *session;
	uint64_t seen, woken;
	int rc;
	bool asleep; /* atomic: about to sleep */
};

static void *sleep_once(void *argument)
{
	struct sleeper *sleeper = argument;
	struct rgm_error error;
	__atomic_store_n(&sleeper->asleep, true, __ATOMIC_RELEASE);
	sleeper->rc = rgm_wait(sleeper->session, sleeper->seen, -1, &sleeper->woken, &error);
	return NULL;
}

static void start_sleepers(struct instance *instance, const struct reader *reader,
	struct sleeper *sleepers, pthread_t *threads, size_t count)
{
	uint64_t seen = rgm_current_version(reader->session);
	for (size_t i = 0; i < count; i++) {
		sleepers[i] = (struct sleeper){instance, reader->session, seen, 0, 1, false};
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, sleep_once, &sleepers[i]), 0);
	}
	for (size_t i = 0; i < count; i++)
		WAIT_UNTIL(__atomic_load_n(&sleepers[i].asleep, __ATOMIC_ACQUIRE));
	support_sleep_ms(20);
}

static void test_looks(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	uint64_t version = 7;
	reader_open(&reader, instance, NULL);
	uint64_t current = rgm_current_version(reader.session);
	REQUIRE_ERROR(rgm_wait(reader.session, current, 0, &version, &error), -ETIMEDOUT, &error);
	uint64_t start = support_now_ms();
	REQUIRE_ERROR(rgm_wait(reader.session, current, 700, &version, &error), -ETIMEDOUT, &error);
	REQUIRE(support_now_ms() - start >= 699);
	REQUIRE_ERROR(
		rgm_wait(reader.session, UINT64_MAX, 10, &version, &error), -ETIMEDOUT, &error);
	REQUIRE_EQUAL(version, 7);
	must(rgm_wait(reader.session, 0, 0, &version, &error), &error);
	REQUIRE_EQUAL(version, current);
	uint64_t next = instance_put(instance, &data, 1);
	must(rgm_wait(reader.session, current, -1, &version, &error), &error);
	REQUIRE_EQUAL(version, next);
	reader_close(&reader);
}

/* None is missed: each wait returns for the next publish, whenever that comes. */
static void *count_news(void *argument)
{
	struct sleeper *sleeper = argument;
	struct rgm_error error;
	uint64_t version = sleeper->seen;
	__atomic_store_n(&sleeper->asleep, true, __ATOMIC_RELEASE);
	while (version < __atomic_load_n(&sleeper->woken, __ATOMIC_ACQUIRE)) {
		uint64_t seen = version;
		must(rgm_wait(sleeper->session, seen, SUPPORT_LIMIT_MS, &version, &error), &error);
		REQUIRE(version > seen);
	}
	return NULL;
}

static void test_many_sleepers(void **state)
{
	struct instance *instance = *state;
	enum {
		MANY = 24
	};
	struct reader reader;
	static struct sleeper sleepers[MANY];
	pthread_t threads[MANY];
	reader_open(&reader, instance, NULL);
	start_sleepers(instance, &reader, sleepers, threads, MANY);
	uint64_t version = instance_put(instance, &data, 1);
	for (size_t i = 0; i < MANY; i++) {
		pthread_join(threads[i], NULL);
		REQUIRE_EQUAL(sleepers[i].rc, 0);
		REQUIRE_EQUAL(sleepers[i].woken, version);
	}
	for (size_t i = 0; i < 4; i++) {
		sleepers[i] =
			(struct sleeper){instance, reader.session, version, UINT64_MAX, 0, false};
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, count_news, &sleepers[i]), 0);
	}
	uint64_t last = version;
	for (uint64_t generation = 2; generation < 400; generation++)
		last = instance_put(instance, &data, generation);
	for (size_t i = 0; i < 4; i++)
		__atomic_store_n(&sleepers[i].woken, last, __ATOMIC_RELEASE);
	instance_put(instance, &data, 1000);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	reader_close(&reader);
}

static void test_manager_stops(void **state)
{
	struct instance *instance = *state;
	enum {
		MANY = 8
	};
	struct reader reader;
	struct rgm_error error;
	static struct sleeper sleepers[MANY];
	pthread_t threads[MANY];
	uint64_t version = instance_put(instance, &data, 3);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	start_sleepers(instance, &reader, sleepers, threads, MANY);
	must(rgm_pin(reader.slot), NULL);
	instance_stop(instance);
	for (size_t i = 0; i < MANY; i++) {
		pthread_join(threads[i], NULL);
		REQUIRE_EQUAL(sleepers[i].rc, RGM_EGONE);
	}
	/* What it has stays: only news and handles are gone. */
	REQUIRE_EQUAL(slot_generation(reader.slot, &data), 3);
	must(rgm_unpin(reader.slot), NULL);
	REQUIRE_EQUAL(reader_generation(&reader, &data), 3);
	struct rgm_session_info info = {.size = sizeof info};
	must(rgm_session_info(reader.session, &info, &error), &error);
	REQUIRE_EQUAL(info.manager_alive, 0);
	REQUIRE_EQUAL(info.version, version);
	REQUIRE_ERROR(rgm_wait(reader.session, version, 0, &version, &error), RGM_EGONE, &error);
	must(rgm_wait(reader.session, 0, 0, &version, &error), &error);
	must(rgm_map(reader.session, "data", &error), &error); /* is there already */
	struct rgm_hold *hold = reader_take(&reader, "data");
	REQUIRE_EQUAL(hold_generation(hold, &data), 3);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	/* The next one does not know the session: attach again. */
	instance_start(instance);
	instance_create(instance, "new");
	uint64_t now = rgm_current_version(reader.session);
	REQUIRE_ERROR(rgm_wait(reader.session, now, 0, &version, &error), RGM_EGONE, &error);
	REQUIRE_EQUAL(rgm_session_info(reader.session, &info, &error), 0);
	REQUIRE_EQUAL(info.manager_alive, 0);
	REQUIRE_EQUAL(reader_generation(&reader, &data), 3);
	reader_close(&reader);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "new");
	reader_close(&reader);
}

static void test_manager_is_killed(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	struct sleeper sleeper;
	pthread_t thread;
	instance_put(instance, &data, 3);
	instance_create(instance, "unmapped");
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	start_sleepers(instance, &reader, &sleeper, &thread, 1);
	instance_kill(instance);
	pthread_join(thread, NULL);
	REQUIRE_EQUAL(sleeper.rc, RGM_EGONE);
	REQUIRE_EQUAL(reader_generation(&reader, &data), 3);
	REQUIRE_ERROR(rgm_map(reader.session, "unmapped", &error), RGM_EGONE, &error);
	/* The same calls again go on at the manager that takes over. */
	instance_start(instance);
	uint64_t seen = rgm_current_version(reader.session), version = 0;
	must(rgm_map(reader.session, "unmapped", &error), &error);
	REQUIRE_ERROR(rgm_wait(reader.session, seen, 1, &version, &error), -ETIMEDOUT, &error);
	instance_put(instance, &data, 4);
	must(rgm_wait(reader.session, seen, -1, &version, &error), &error);
	REQUIRE(version > seen);
	REQUIRE_EQUAL(reader_generation(&reader, &data), 4);
	reader_close(&reader);
}

static void on_signal(int number)
{
	(void)number;
}

static void test_interrupted(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct sleeper sleeper;
	pthread_t thread;
	struct sigaction action = {.sa_handler = on_signal}, before;
	reader_open(&reader, instance, NULL);
	sigaction(SIGUSR1, &action, &before);
	start_sleepers(instance, &reader, &sleeper, &thread, 1);
	/* Until one of them meets the sleep. */
	while (pthread_tryjoin_np(thread, NULL) == EBUSY) {
		pthread_kill(thread, SIGUSR1);
		support_sleep_ms(5);
	}
	REQUIRE_EQUAL(sleeper.rc, -EINTR);
	sigaction(SIGUSR1, &before, NULL);
	reader_close(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_looks),
		INSTANCE_TEST(test_many_sleepers),
		INSTANCE_TEST(test_manager_stops),
#if !SUPPORT_RACE_BUILD
		cmocka_unit_test_setup_teardown(
			test_manager_is_killed, instance_setup_daemon, instance_teardown),
#endif
		INSTANCE_TEST(test_interrupted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
