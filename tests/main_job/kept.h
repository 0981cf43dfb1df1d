/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory a stopped worker may keep: the pages of the layers that its versions see and that
 * were replaced, removed or dropped since, by the truth alone.
 */
#ifndef MAIN_JOB_KEPT_H
#define MAIN_JOB_KEPT_H

#include "job.h"

struct kept {
	uint32_t commits[3 * JOB_THREADS_MAX]; /* that its threads and holds see */
	uint32_t sure; /* the first so many are of sections, surely in view */
	uint32_t count;
	bool complete; /* false: a thread was just entering or leaving */
};

/* Read where a stopped worker's threads are. False when told to end. */
bool kept_look(const struct job *job, uint32_t worker, struct kept *ret_kept);

/* Bytes that are kept at least (sections alone, by commits up to `since`), and at most (holds too, by
 * commits up to `until`, with the directories that lead there). */
uint64_t kept_least(const struct job *job, const struct kept *kept, uint32_t since);
uint64_t kept_most(const struct job *job, const struct kept *kept, uint32_t until);

#endif
