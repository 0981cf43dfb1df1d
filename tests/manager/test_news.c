/* SPDX-License-Identifier: Apache-2.0 */
/* regionmgr/manager/news.h: who is woken by whom, without a table. */
#define _GNU_SOURCE 1

#include "tests/support/support.h"

#include <pthread.h>

#include "ipc/atomic.h"
#include "pool/os.h"
#include "regionmgr/manager/news.h"

enum {
	MANY = 96
};

struct scene {
	struct rgm_manager *manager;
	struct news *news;
	uint32_t *word;
	uint64_t version; /* atomic: what is told */
	bool any;         /* sleepers name every bit, as one who lies would */
	unsigned begun;   /* atomic */
	unsigned seen;    /* atomic: how often a sleeper found something newer */
};

static void scene_open(struct scene *scene)
{
	*scene = (struct scene){.manager = calloc(1, sizeof *scene->manager)};
	scene->word = calloc(1, sizeof *scene->word);
	REQUIRE(scene->manager && scene->word);
	REQUIRE_EQUAL(news_create(scene->manager, scene->word, &scene->news), 0);
}

static void scene_close(struct scene *scene)
{
	news_destroy(scene->news);
	free(scene->word);
	free(scene->manager);
}

static uint64_t counted(const struct scene *scene, enum counter counter)
{
	return atomic_load(&scene->manager->counters[counter]);
}

static void tell(struct scene *scene)
{
	__atomic_add_fetch(&scene->version, 1, __ATOMIC_RELEASE);
	news_change(scene->news);
	news_wake(scene->news);
}

/* S1 to S3 with no look at a connection: who is not woken sleeps until the test's deadline. */
static uint64_t sleep_for_newer(struct scene *scene, uint64_t seen)
{
	for (;;) {
		uint32_t news = load32_acquire(scene->word);
		uint64_t version = load64_acquire(&scene->version);
		if (version > seen)
			return version;
		int rc = os_futex_wait(scene->word, news,
			scene->any ? OS_FUTEX_ANY : ipc_news_bit(news), SUPPORT_LIMIT_MS);
		REQUIRE_EQUAL(rc, 0);
	}
}

static void *sleep_to_the_end(void *argument)
{
	struct scene *scene = argument;
	uint64_t seen = 0;
	__atomic_add_fetch(&scene->begun, 1, __ATOMIC_RELEASE);
	while (seen < UINT64_MAX / 2) {
		seen = sleep_for_newer(scene, seen);
		__atomic_add_fetch(&scene->seen, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* `each`: before the next publish everybody has seen the last one, and had time to fall asleep. */
static void run_crowd(struct scene *scene, unsigned publishes, bool each)
{
	pthread_t threads[MANY];
	for (size_t i = 0; i < MANY; i++)
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, sleep_to_the_end, scene), 0);
	WAIT_UNTIL(__atomic_load_n(&scene->begun, __ATOMIC_ACQUIRE) == MANY);
	for (unsigned i = 1; i <= publishes; i++) {
		if (each)
			support_sleep_ms(10);
		tell(scene);
		if (each)
			WAIT_UNTIL(__atomic_load_n(&scene->seen, __ATOMIC_ACQUIRE) == MANY * i);
	}
	__atomic_store_n(&scene->version, UINT64_MAX - 1, __ATOMIC_RELEASE);
	news_change(scene->news);
	news_wake(scene->news);
	for (size_t i = 0; i < MANY; i++)
		REQUIRE_EQUAL(pthread_join(threads[i], NULL), 0);
	REQUIRE(counted(scene, COUNTER_woken_by_commits) <= publishes + 1u);
}

/* Nobody sleeps: nobody is woken, and the thread is left alone, which would flip the phase. */
static void test_nobody(void **state)
{
	struct scene scene;
	(void)state;
	scene_open(&scene);
	for (uint32_t i = 1; i <= 1000; i++) {
		tell(&scene);
		REQUIRE_EQUAL(load32_acquire(scene.word), i * IPC_NEWS_STEP);
	}
	REQUIRE_EQUAL(counted(&scene, COUNTER_woken_by_commits), 0);
	REQUIRE_EQUAL(counted(&scene, COUNTER_woken_later), 0);
	scene_close(&scene);
}

/* As fast as it goes: rounds, flips and sleepers that come back meet in every order. */
static void test_fast(void **state)
{
	struct scene scene;
	(void)state;
	scene_open(&scene);
	run_crowd(&scene, 20000, false);
	scene_close(&scene);
}

/* Everybody is asleep at each publish: a commit wakes one, the thread the others. */
static void test_slow(void **state)
{
	struct scene scene;
	(void)state;
	scene_open(&scene);
	run_crowd(&scene, 20, true);
	REQUIRE(counted(&scene, COUNTER_woken_by_commits) >= 1);
	REQUIRE(counted(&scene, COUNTER_woken_later) >= 1);
	scene_close(&scene);
}

/* Sleepers that name every bit and come back at once may keep a round going; the others are woken, and no
 * commit waits. */
static void test_liars(void **state)
{
	struct scene scene;
	(void)state;
	scene_open(&scene);
	scene.any = true;
	run_crowd(&scene, 2000, false);
	scene_close(&scene);
}

/* Whoever slept with either bit since before the thread began is woken by its start. */
struct early {
	uint32_t *word;
	uint32_t bits;
	unsigned *begun;
};

static void *sleep_early(void *argument)
{
	struct early *early = argument;
	__atomic_add_fetch(early->begun, 1, __ATOMIC_RELEASE);
	REQUIRE_EQUAL(os_futex_wait(early->word, 7, early->bits, SUPPORT_LIMIT_MS), 0);
	return NULL;
}

static void test_taken_over(void **state)
{
	uint32_t word = 7;
	unsigned begun = 0;
	struct early early[2] = {{&word, 1, &begun}, {&word, 2, &begun}};
	pthread_t threads[2];
	struct rgm_manager *manager = calloc(1, sizeof *manager);
	struct news *news;
	(void)state;
	REQUIRE(manager);
	for (int i = 0; i < 2; i++)
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, sleep_early, &early[i]), 0);
	WAIT_UNTIL(__atomic_load_n(&begun, __ATOMIC_ACQUIRE) == 2);
	support_sleep_ms(20);
	REQUIRE_EQUAL(news_create(manager, &word, &news), 0);
	/* one that had not fallen asleep yet finds the word changed */
	support_sleep_ms(20);
	news_tell_all(news);
	for (int i = 0; i < 2; i++)
		REQUIRE_EQUAL(pthread_join(threads[i], NULL), 0);
	news_destroy(news);
	free(manager);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_fast),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_liars),
		cmocka_unit_test(test_taken_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
