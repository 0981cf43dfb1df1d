/* SPDX-License-Identifier: Apache-2.0 */
/* The news thread. The argument stands in news.h. */
#include "regionmgr/manager/news.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "pool/os.h"

/* Woken by one call: for so many the kernel's queue is locked once. */
#define STEP 16

struct news {
	struct rgm_manager *manager;
	uint32_t *word; /* news, in the table */

	pthread_mutex_t lock; /* guards the following; nothing is taken under it */
	pthread_cond_t wake;
	bool round; /* one is under way */
	bool again; /* and another one has to follow */
	bool stop;
	uint32_t bits; /* of whom the round wakes */
	pthread_t thread;
	bool started;
};

void news_change(struct news *news)
{
	/* Release: who loads this value or a later one sees `current`. S1. */
	__atomic_fetch_add(news->word, IPC_NEWS_STEP, __ATOMIC_RELEASE);
}

/* T1, under lock. Release: the flip must not hide what news_change() released; it goes on with its
 * sequence. */
static void flip(struct news *news)
{
	uint32_t before = __atomic_fetch_xor(news->word, IPC_NEWS_PHASE, __ATOMIC_RELEASE);
	news->bits = ipc_news_bit(before);
}

void news_wake(struct news *news)
{
	if (os_futex_wake(news->word, OS_FUTEX_ANY, 1) <= 0)
		return;
	pthread_mutex_lock(&news->lock);
	if (news->round) {
		news->again = true;
	} else {
		news->round = true;
		flip(news);
		pthread_cond_signal(&news->wake);
	}
	pthread_mutex_unlock(&news->lock);
	manager_count(news->manager, COUNTER_woken_by_commits, 1);
}

void news_tell_all(struct news *news)
{
	news_change(news);
	os_futex_wake(news->word, OS_FUTEX_ANY, INT_MAX);
}

/* T2. */
static void wake_sleepers(struct news *news, uint32_t bits)
{
	int woken;
	do {
		woken = os_futex_wake(news->word, bits, STEP);
		if (woken > 0)
			manager_count(news->manager, COUNTER_woken_later, (uint64_t)woken);
	} while (woken == STEP);
}

/* The next round's bits; false: stop. `done`: one is over. */
static bool next_round(struct news *news, bool done, uint32_t *ret_bits)
{
	pthread_mutex_lock(&news->lock);
	if (done && news->again) {
		news->again = false;
		flip(news);
	} else if (done) {
		news->round = false;
	}
	while (!news->round && !news->stop)
		pthread_cond_wait(&news->wake, &news->lock);
	*ret_bits = news->bits;
	bool go_on = !news->stop;
	pthread_mutex_unlock(&news->lock);
	return go_on;
}

static void *run(void *argument)
{
	struct news *news = argument;
	/* Whoever sleeps already does so since before this run, with either bit: a manager may have died
	 * within a round. */
	os_futex_wake(news->word, OS_FUTEX_ANY, INT_MAX);
	uint32_t bits;
	for (bool done = false; next_round(news, done, &bits); done = true)
		wake_sleepers(news, bits);
	return NULL;
}

int news_create(struct rgm_manager *manager, uint32_t *word, struct news **ret_news)
{
	struct news *news = calloc(1, sizeof *news);
	if (!news)
		return -ENOMEM;
	news->manager = manager;
	news->word = word;
	pthread_mutex_init(&news->lock, NULL);
	pthread_cond_init(&news->wake, NULL);
	int rc = manager_thread(&news->thread, run, news);
	if (rc) {
		news_destroy(news);
		return rc;
	}
	news->started = true;
	*ret_news = news;
	return 0;
}

void news_destroy(struct news *news)
{
	if (!news)
		return;
	if (news->started) {
		pthread_mutex_lock(&news->lock);
		news->stop = true;
		pthread_cond_signal(&news->wake);
		pthread_mutex_unlock(&news->lock);
		pthread_join(news->thread, NULL);
	}
	pthread_cond_destroy(&news->wake);
	pthread_mutex_destroy(&news->lock);
	free(news);
}
