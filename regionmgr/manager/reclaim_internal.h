/* SPDX-License-Identifier: Apache-2.0 */
/* Batches and their lists inside: shared by reclaim.c (where they go) and reclaim_sift.c (what of them is
 * free). */
#ifndef MANAGER_RECLAIM_INTERNAL_H
#define MANAGER_RECLAIM_INTERNAL_H

#include <urcu/wfcqueue.h>

#include "regionmgr/manager/reclaim.h"
#include "regionmgr/manager/sessions.h"

struct retired {
	struct cds_wfcq_node node;
	struct retired *next; /* in a list */
	enum retired_what what;
	struct dimension *dimension; /* with a reference, once pushed */
	uint64_t version;            /* not reachable from this version on */
	uint64_t pushed_ns;          /* CLOCK_MONOTONIC */
	uint64_t born;               /* at most that of any of the blocks */
	uint64_t looked_born;        /* the least of those that were looked at and kept */
	size_t looked;               /* blocks at the front that were looked at and kept */
	size_t count;
	struct dim_block blocks[];
};

struct list {
	struct retired *first, **end;
};

struct reclaim {
	struct rgm_manager *manager;
	struct cds_wfcq_head head; /* pushed by commits, taken under lock */
	struct cds_wfcq_tail tail;
	atomic_uint_least64_t retired_bytes;

	pthread_mutex_t lock; /* guards the following; order: see manager.h */
	struct list waiting;  /* to be looked at; entries of the ring first */
	struct list kept;     /* looked at: somebody sees what is left of them */
	struct reclaim_hold *own;
	struct sessions_view view; /* kept for its memory */

	/* A futex: commits leave a bit here (release) and take no lock for it. The thread takes them all
	 * (acquire), and finds what was in the queue before; and `stop`, which is relaxed for that. */
	uint32_t work; /* atomic */
	atomic_bool stop;
	pthread_t thread;
	bool started;
};

/* May somebody see a block born at `born` of this batch? */
bool reclaim_in_view(const struct sessions_view *view, const struct reclaim_hold *own,
	const struct retired *batch, uint64_t born);
/* Look at blocks of a batch, at most `most`, and free what nobody sees by reclaim.view. Returns how many
 * were looked at; those kept are moved to the front, where `looked` counts them. Under lock. */
size_t reclaim_sift(struct reclaim *reclaim, struct retired *batch, size_t most);

#endif
