/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line of progress on a terminal's standard error, for work that takes longer than half a second:
 * how much, how fast, how long still. Nothing in a pipe, nothing with --quiet. It is drawn by a
 * thread of its own, so that it moves while one long call is under way. No escape sequence is used:
 * a carriage return and blanks.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <pthread.h>
#include <stdatomic.h>

#include "regionmgr/cli/cli.h"

struct progress {
	bool drawing; /* there is a thread */
	char what[96];
	atomic_uint_least64_t done, total; /* bytes; total 0: not known */
	const atomic_uint_least64_t *from; /* where done stands instead, or NULL */
	uint64_t started_ns;
	pthread_t thread;
	pthread_mutex_t lock; /* guards stop */
	pthread_cond_t wake;
	bool stop;
};

/* `what` names the work: "load 'libs'". `from`, if not NULL, is read in place of progress_set(). */
void progress_begin(struct progress *progress, const struct cli *cli, const char *what,
	uint64_t total, const atomic_uint_least64_t *from);
void progress_set(struct progress *progress, uint64_t done, uint64_t total);
/* An rgm_progress: context is the struct progress. */
int progress_callback(void *context, uint64_t done_bytes, uint64_t total_bytes);
/* Take the line away. Returns how long it took. */
uint64_t progress_end(struct progress *progress);

#endif
