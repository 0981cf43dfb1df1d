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
	bool work, stop;
	pthread_t thread;
	bool started;
};

void news_change(struct news *news)
{
	/* Release: who loads this value or a later one sees `current`. S1. */
	__atomic_fetch_add(news->word, IPC_NEWS_STEP, __ATOMIC_RELEASE);
}

void news_wake(struct news *news)
{
	if (os_futex_wake(news->word, OS_FUTEX_ANY, 1) <= 0)
		return;
	manager_count(news->manager, COUNTER_woken_by_commits, 1);
	pthread_mutex_lock(&news->lock);
	news->work = true;
	pthread_cond_signal(&news->wake);
	pthread_mutex_unlock(&news->lock);
}

void news_tell_all(struct news *news)
{
	news_change(news);
	os_futex_wake(news->word, OS_FUTEX_ANY, INT_MAX);
}

/* T2 and T3. */
static void wake_phase(struct news *news)
{
	/* Release: the flip must not hide what news_change() released; it goes on with its sequence. */
	uint32_t before = __atomic_fetch_xor(news->word, IPC_NEWS_PHASE, __ATOMIC_RELEASE);
	int woken;
	do {
		woken = os_futex_wake(news->word, ipc_news_bit(before), STEP);
		if (woken > 0)
			manager_count(news->manager, COUNTER_woken_later, (uint64_t)woken);
	} while (woken == STEP);
}

static bool wait_for_work(struct news *news)
{
	pthread_mutex_lock(&news->lock);
	while (!news->work && !news->stop)
		pthread_cond_wait(&news->wake, &news->lock);
	news->work = false;
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
	while (wait_for_work(news))
		wake_phase(news);
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
