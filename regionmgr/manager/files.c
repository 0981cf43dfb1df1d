/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of descriptors, a bit each, and the fork handler that reads it. See files.h.
 *
 * No lock: a fork handler that took one would have to be ordered with every other library's, liburcu's
 * among them, whose callbacks close regions. The words are atomic (relaxed): fork(2) itself orders what
 * the forking thread sees before what its child does, and of what other threads do at that moment either
 * answer is right.
 */
#include "regionmgr/manager/files.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "pool/error.h"

#define FILES_MAX (1u << 20) /* the kernel's own limit, fs.nr_open, unless it was raised */

static atomic_uint_least64_t words[FILES_MAX / 64];
static atomic_uint words_used; /* words below were ever used */

static void after_fork_child(void)
{
	unsigned used = atomic_load_explicit(&words_used, memory_order_relaxed);
	for (unsigned i = 0; i < used; i++) {
		uint64_t word = atomic_exchange_explicit(&words[i], 0, memory_order_relaxed);
		for (; word; word &= word - 1)
			close((int)(i * 64) + __builtin_ctzll(word));
	}
}

static pthread_once_t watch_once = PTHREAD_ONCE_INIT;
static int watch_rc;

static void watch(void)
{
	watch_rc = -pthread_atfork(NULL, NULL, after_fork_child);
}

int files_watch(void)
{
	pthread_once(&watch_once, watch);
	return watch_rc;
}

void files_keep(int file)
{
	if (file < 0 || file >= (int)FILES_MAX)
		return;
	unsigned word = (unsigned)file / 64;
	unsigned used = atomic_load_explicit(&words_used, memory_order_relaxed);
	while (used <= word && !atomic_compare_exchange_weak_explicit(&words_used, &used, word + 1,
				       memory_order_relaxed, memory_order_relaxed))
		;
	atomic_fetch_or_explicit(&words[word], 1ull << file % 64, memory_order_relaxed);
}

bool files_forget(int file)
{
	if (file < 0 || file >= (int)FILES_MAX)
		return true;
	uint64_t bit = 1ull << file % 64;
	return atomic_fetch_and_explicit(&words[file / 64], ~bit, memory_order_relaxed) & bit;
}

void files_close(int file)
{
	if (file >= 0 && files_forget(file))
		close(file);
}

/* A new descriptor has the lowest number that is free. */
int files_check_reserve(
	int file, enum files_reserve reserve, const char *what, struct rgm_error *error)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY ||
		(rlim_t)file + (rlim_t)reserve < limit.rlim_cur)
		return 0;
	pool_fail(error, RGM_ELIMIT,
		"%s would leave the manager fewer than %d descriptors (RLIMIT_NOFILE is %lu)", what,
		(int)reserve, (unsigned long)limit.rlim_cur);
	pool_hint(error, "raise the manager's limit of open files (ulimit -n), or drop dimensions");
	return RGM_ELIMIT;
}
