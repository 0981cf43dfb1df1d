/* SPDX-License-Identifier: Apache-2.0 */
/* The set of descriptors, a bit each, and the fork handlers that know it. See files.h. */
#include "regionmgr/manager/files.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the set; taken last of all */
static uint64_t *words;
static size_t word_count;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void after_fork_child(void)
{
	for (size_t i = 0; i < word_count; i++) {
		for (unsigned bit = 0; words[i]; bit++) {
			if (words[i] >> bit & 1)
				close((int)(i * 64 + bit));
			words[i] &= ~(1ull << bit);
		}
	}
	pthread_mutex_unlock(&lock);
}

static pthread_once_t watch_once = PTHREAD_ONCE_INIT;
static int watch_rc;

static void watch(void)
{
	watch_rc = -pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int files_watch(void)
{
	pthread_once(&watch_once, watch);
	return watch_rc;
}

static int grow(size_t count)
{
	uint64_t *more = reallocarray(words, count, sizeof *words);
	if (!more)
		return -ENOMEM;
	memset(more + word_count, 0, (count - word_count) * sizeof *words);
	words = more;
	word_count = count;
	return 0;
}

int files_keep(int file)
{
	size_t word = (size_t)file / 64;
	int rc = 0;
	pthread_mutex_lock(&lock);
	if (word >= word_count)
		rc = grow(word + 16);
	if (rc == 0)
		words[word] |= 1ull << file % 64;
	pthread_mutex_unlock(&lock);
	return rc;
}

static void clear(int file)
{
	size_t word = (size_t)file / 64;
	if (word < word_count)
		words[word] &= ~(1ull << file % 64);
}

void files_forget(int file)
{
	pthread_mutex_lock(&lock);
	clear(file);
	pthread_mutex_unlock(&lock);
}

void files_close(int file)
{
	if (file < 0)
		return;
	/* Under the lock, so that its number is not another's when a child looks at the set. */
	pthread_mutex_lock(&lock);
	clear(file);
	close(file);
	pthread_mutex_unlock(&lock);
}
