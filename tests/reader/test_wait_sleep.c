/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rgm_wait_for() asleep: woken by what it waits for and by nothing else; by the manager's end, signals,
 * cancellation. And many sleepers at once: all are woken, and none of it on a commit's path.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define CHANGES (RGM_NEWS_CREATED | RGM_NEWS_CHANGED | RGM_NEWS_RENAMED | RGM_NEWS_DROPPED)

static const struct content data = {"data", 1, 4096, 81};
static const struct content other = {"other", 1, 4096, 82};

/* One thread that waits once. */
struct sleeper {
	pthread_t thread;
	struct rgm_session *session;
	const char *name;
	uint32_t events;
	struct rgm_news seen, news;
	int rc;
	bool begun, ended; /* atomic */
};

static void *sleep_once(void *argument)
{
	struct sleeper *sleeper = argument;
	struct rgm_wait_options options = {.size = sizeof options,
		.events = sleeper->events,
		.name = sleeper->name,
		.seen = sleeper->seen.size ? &sleeper->seen : NULL,
		.timeout_ms = -1};
	struct rgm_error error;
	__atomic_store_n(&sleeper->begun, true, __ATOMIC_RELEASE);
	sleeper->rc = rgm_wait_for(sleeper->session, &options, &sleeper->news, &error);
	__atomic_store_n(&sleeper->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

/* `seen` is what is there now, so that nothing later is missed. */
static void sleeper_start(
	struct sleeper *sleeper, const struct reader *reader, const char *name, uint32_t events)
{
	struct rgm_news nothing = {.size = sizeof nothing};
	struct rgm_wait_options options = {
		.size = sizeof options, .events = RGM_NEWS_VERSION, .name = name, .seen = &nothing};
	*sleeper = (struct sleeper){.session = reader->session, .name = name, .events = events};
	sleeper->seen.size = sleeper->news.size = sizeof sleeper->news;
	must(rgm_wait_for(reader->session, &options, &sleeper->seen, NULL), NULL);
	REQUIRE_EQUAL(pthread_create(&sleeper->thread, NULL, sleep_once, sleeper), 0);
	WAIT_UNTIL(__atomic_load_n(&sleeper->begun, __ATOMIC_ACQUIRE));
}

static void sleeper_join(struct sleeper *sleeper, int rc)
{
	REQUIRE_EQUAL(pthread_join(sleeper->thread, NULL), 0);
	REQUIRE_EQUAL(sleeper->rc, rc);
}

static bool ended(const struct sleeper *sleeper)
{
	return __atomic_load_n(&sleeper->ended, __ATOMIC_ACQUIRE);
}

/* What others change ends no wait; what is waited for does, and says which. */
static void test_others(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct sleeper changed, grown, created, dropped;
	instance_put(instance, &data, 1);
	instance_put(instance, &other, 1);
	reader_open(&reader, instance, NULL);
	sleeper_start(&changed, &reader, "data", RGM_NEWS_CHANGED);
	sleeper_start(&grown, &reader, "data", RGM_NEWS_GROWN);
	sleeper_start(&created, &reader, "later", RGM_NEWS_CREATED);
	sleeper_start(&dropped, &reader, "data", RGM_NEWS_DROPPED);
	for (uint64_t generation = 2; generation < 200; generation++)
		instance_put(instance, &other, generation);
	support_sleep_ms(20);
	REQUIRE(!ended(&changed) && !ended(&grown) && !ended(&created) && !ended(&dropped));
	uint64_t version = instance_put(instance, &data, 2);
	sleeper_join(&changed, 0);
	REQUIRE_EQUAL(changed.news.events, RGM_NEWS_CHANGED);
	REQUIRE(changed.news.changed == version && changed.news.generation == 2);
	instance_create(instance, "later");
	sleeper_join(&created, 0);
	REQUIRE_EQUAL(strcmp(created.news.name, "later"), 0);
	REQUIRE(!ended(&grown) && !ended(&dropped));
	const struct content large = {"data", 40, 65536, 83};
	version = instance_put(instance, &large, 3);
	sleeper_join(&grown, 0);
	REQUIRE(grown.news.region_bytes > grown.seen.region_bytes);
	REQUIRE_EQUAL(grown.news.changed, version);
	REQUIRE(!ended(&dropped));
	instance_drop(instance, "data");
	sleeper_join(&dropped, 0);
	REQUIRE_EQUAL(dropped.news.present, 0);
	reader_close(&reader);
}

static void test_renamed_and_dropped_asleep(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct sleeper renamed, changed;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	sleeper_start(&renamed, &reader, "data", CHANGES);
	sleeper_start(&changed, &reader, "data", RGM_NEWS_CHANGED);
	instance_rename(instance, "data", "moved");
	sleeper_join(&renamed, 0);
	REQUIRE_EQUAL(renamed.news.events, RGM_NEWS_RENAMED);
	REQUIRE_EQUAL(strcmp(renamed.news.name, "moved"), 0);
	REQUIRE(!ended(&changed));
	/* followed under its new name; and when it goes nothing can come any more */
	instance_drop(instance, "moved");
	sleeper_join(&changed, RGM_ENODIM);
	reader_close(&reader);
}

static void test_timeout(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	struct rgm_news news = {.size = sizeof news};
	struct rgm_wait_options options = {.size = sizeof options,
		.events = RGM_NEWS_CHANGED,
		.name = "data",
		.timeout_ms = 600};
	uint64_t start = support_now_ms();
	REQUIRE_ERROR(rgm_wait_for(reader.session, &options, &news, &error), -ETIMEDOUT, &error);
	REQUIRE(support_now_ms() - start >= 599); /* not before; how long after is not asked */
	reader_close(&reader);
}

static void test_manager_stops(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct sleeper sleeper, any;
	struct rgm_error error;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	sleeper_start(&sleeper, &reader, "data", CHANGES);
	sleeper_start(&any, &reader, NULL, RGM_NEWS_VERSION | RGM_NEWS_CREATED);
	instance_stop(instance);
	sleeper_join(&sleeper, RGM_EGONE);
	sleeper_join(&any, RGM_EGONE);
	/* what happened before it stopped is told all the same */
	struct rgm_news news = {.size = sizeof news};
	struct rgm_wait_options options = {
		.size = sizeof options, .events = CHANGES, .name = "data", .seen = &news};
	must(rgm_wait_for(reader.session, &options, &news, &error), &error);
	REQUIRE_EQUAL(news.generation, 1);
	REQUIRE_ERROR(rgm_wait_for(reader.session, &options, &news, &error), RGM_EGONE, &error);
	reader_close(&reader);
	instance_start(instance);
}

static void on_signal(int number)
{
	(void)number;
}

static void test_signal_and_cancel(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct sleeper sleeper;
	struct sigaction action = {.sa_handler = on_signal}, before;
	void *result;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	sigaction(SIGUSR1, &action, &before);
	sleeper_start(&sleeper, &reader, "data", CHANGES);
	while (!ended(&sleeper)) {
		pthread_kill(sleeper.thread, SIGUSR1);
		support_sleep_ms(5);
	}
	sleeper_join(&sleeper, -EINTR);
	sigaction(SIGUSR1, &before, NULL);
	sleeper_start(&sleeper, &reader, "data", CHANGES);
	pthread_cancel(sleeper.thread);
	REQUIRE_EQUAL(pthread_join(sleeper.thread, &result), 0);
	REQUIRE(result == PTHREAD_CANCELED);
	/* it left no lock behind */
	reader_map(&reader, "data");
	REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
	reader_close(&reader);
}

/* --- Many ------------------------------------------------------------------------------------- */

enum {
	MANY = 512
};

struct crowd {
	struct instance *instance;
	struct rgm_session *session;
	uint64_t seen, last;
	unsigned begun, finished; /* atomic */
};

/* Each new version until the last one: none is slept through. */
static void *follow(void *argument)
{
	struct crowd *crowd = argument;
	struct rgm_error error;
	uint64_t version = crowd->seen;
	__atomic_add_fetch(&crowd->begun, 1, __ATOMIC_RELEASE);
	while (version < __atomic_load_n(&crowd->last, __ATOMIC_ACQUIRE)) {
		uint64_t seen = version;
		must(rgm_wait(crowd->session, seen, SUPPORT_LIMIT_MS, &version, &error), &error);
		REQUIRE(version > seen);
	}
	__atomic_add_fetch(&crowd->finished, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void crowd_start(struct crowd *crowd, pthread_t *threads, unsigned count)
{
	pthread_attr_t attributes;
	REQUIRE_EQUAL(pthread_attr_init(&attributes), 0);
	REQUIRE_EQUAL(pthread_attr_setstacksize(&attributes, 256 << 10), 0);
	for (unsigned i = 0; i < count; i++)
		REQUIRE_EQUAL(pthread_create(&threads[i], &attributes, follow, crowd), 0);
	pthread_attr_destroy(&attributes);
	WAIT_UNTIL(__atomic_load_n(&crowd->begun, __ATOMIC_ACQUIRE) == count);
	support_sleep_ms(50);
}

/* How many sleepers commits woke, and how many all together. */
static void woken(struct instance *instance, uint64_t *ret_by_commits, uint64_t *ret_all)
{
	*ret_by_commits = instance_counter(instance, "woken_by_commits");
	*ret_all = *ret_by_commits + instance_counter(instance, "woken_later");
}

static void test_crowd(void **state)
{
	struct instance *instance = *state;
	static pthread_t threads[MANY];
	struct reader reader;
	uint64_t commits = 1, before, all_before, now, all;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	struct crowd crowd = {.instance = instance, .session = reader.session};
	crowd.seen = rgm_current_version(reader.session);
	crowd.last = crowd.seen + 1;
	/* one publish wakes them all, one of them itself */
	woken(instance, &before, &all_before);
	crowd_start(&crowd, threads, MANY);
	instance_put(instance, &data, 2);
	for (unsigned i = 0; i < MANY; i++)
		REQUIRE_EQUAL(pthread_join(threads[i], NULL), 0);
	woken(instance, &now, &all);
	REQUIRE(now - before <= commits && all > all_before);

	/* many publishes, while they come and go */
	crowd.seen = rgm_current_version(reader.session);
	crowd.last = UINT64_MAX;
	crowd.begun = crowd.finished = 0;
	woken(instance, &before, &all_before);
	crowd_start(&crowd, threads, MANY);
	uint64_t version = 0;
	for (uint64_t generation = 3; generation < 103; generation++, commits++)
		version = instance_put(instance, &data, generation);
	__atomic_store_n(&crowd.last, version + 1, __ATOMIC_RELEASE);
	instance_put(instance, &data, 103);
	for (unsigned i = 0; i < MANY; i++)
		REQUIRE_EQUAL(pthread_join(threads[i], NULL), 0);
	woken(instance, &now, &all);
	REQUIRE(now - before <= commits && all - all_before >= now - before);
	print_message("%u sleepers, %u commits: %u woken by commits, %u in all\n", (unsigned)MANY,
		(unsigned)commits, (unsigned)(now - before), (unsigned)(all - all_before));
	reader_close(&reader);
}

#if !SUPPORT_RACE_BUILD

/* Of another process: as many threads as `last` says when it is told. */
static void sleep_elsewhere(struct child *parent, void *context)
{
	struct crowd crowd = *(struct crowd *)context;
	static pthread_t threads[64];
	struct reader reader;
	reader_open(&reader, crowd.instance, NULL);
	crowd.session = reader.session;
	crowd.seen = rgm_current_version(reader.session);
	crowd.last = crowd.seen + 100;
	crowd_start(&crowd, threads, 64);
	child_say(parent, 's');
	for (unsigned i = 0; i < 64; i++)
		REQUIRE_EQUAL(pthread_join(threads[i], NULL), 0);
	child_say(parent, 'w');
	reader_close(&reader);
}

/* Sleepers that are stopped hold up nobody: neither commits nor other sleepers. Set going again they find
 * what they missed. */
static void test_stopped(void **state)
{
	struct instance *instance = *state;
	struct crowd crowd = {.instance = instance};
	struct reader reader;
	uint64_t version;
	instance_put(instance, &data, 1);
	struct child child = child_start(sleep_elsewhere, &crowd);
	child_expect(&child, 's');
	child_signal(&child, SIGSTOP);
	child_wait_stopped(&child);
	reader_open(&reader, instance, NULL);
	for (uint64_t generation = 2; generation < 102; generation++) {
		struct sleeper sleeper;
		sleeper_start(&sleeper, &reader, "data", RGM_NEWS_CHANGED);
		version = instance_put(instance, &data, generation);
		sleeper_join(&sleeper, 0);
		REQUIRE_EQUAL(sleeper.news.changed, version);
	}
	child_signal(&child, SIGCONT);
	child_expect(&child, 'w');
	child_join(&child);
	reader_close(&reader);
}

static void wait_in_child(struct child *parent, void *context)
{
	struct reader *reader = context;
	struct rgm_news news = {.size = sizeof news};
	struct rgm_wait_options options = {
		.size = sizeof options, .events = CHANGES, .name = "data", .timeout_ms = -1};
	struct rgm_error error;
	(void)parent;
	REQUIRE_ERROR(rgm_wait_for(reader->session, &options, &news, &error), RGM_EFORKED, &error);
}

static void test_forked(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	reader_open(&reader, instance, NULL);
	struct child child = child_start(wait_in_child, &reader);
	child_join(&child);
	reader_close(&reader);
}

static void test_manager_is_killed(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct sleeper sleeper;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	sleeper_start(&sleeper, &reader, "data", CHANGES);
	instance_kill(instance);
	sleeper_join(&sleeper, RGM_EGONE);
	reader_close(&reader);
	instance_start(instance);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_others),
		INSTANCE_TEST(test_renamed_and_dropped_asleep),
		INSTANCE_TEST(test_timeout),
		INSTANCE_TEST(test_manager_stops),
		INSTANCE_TEST(test_signal_and_cancel),
		INSTANCE_TEST(test_crowd),
#if !SUPPORT_RACE_BUILD
		cmocka_unit_test_setup_teardown(
			test_stopped, instance_setup_daemon, instance_teardown),
		INSTANCE_TEST(test_forked),
		cmocka_unit_test_setup_teardown(
			test_manager_is_killed, instance_setup_daemon, instance_teardown),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
