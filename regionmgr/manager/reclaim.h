/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reclaim: retired blocks wait here until no section and no hold can see them, by the interval rule of
 * ipc/slot.h. Commits push batches without a lock (wfcqueue) and never wait for a scan; a thread of its
 * own scans and frees, in bounded steps.
 *
 * Three kinds of batch:
 *   blocks of a dimension's region    kept by sections and by holds on that dimension
 *   pages of the table                kept by sections alone (a hold copies what it needs)
 *   ring entries of the table         likewise: the entry of a version is its block
 * A batch keeps its dimension by a reference: a dropped one's region is closed when the last batch
 * is gone, and its file, unlinked at the drop, goes with the last mapping of a reader.
 */
#ifndef MANAGER_RECLAIM_H
#define MANAGER_RECLAIM_H

#include "ipc/slot.h"
#include "regionmgr/manager/dimension.h"
#include "regionmgr/manager/manager.h"

int reclaim_create(struct rgm_manager *manager, struct reclaim **ret_reclaim);
/* Stop the thread. What still waits is forgotten (the pages stay marked used unless
 * reclaim_release_all() came first). NULL is allowed. */
void reclaim_destroy(struct reclaim *reclaim);
/* Free all waiting blocks without a scan: at a clean stop, when the regions are closed for readers to
 * come (those still attached keep their files mapped, and a region they map is not served again before
 * they are gone). */
void reclaim_release_all(struct reclaim *reclaim);

enum retired_what {
	RETIRED_BLOCKS,
	RETIRED_TABLE_PAGES,
	RETIRED_RING_ENTRY
};

struct retired;
/* Room for `count` blocks, so that pushing cannot fail after a publish. NULL: no memory. */
struct retired *retired_create(enum retired_what what, struct dimension *dimension, size_t count);
/* Add a block; there is room for as many as were asked for. For a ring entry, page is the version. */
void retired_add(struct retired *retired, uint64_t page, uint64_t count, uint64_t born);
void retired_free(struct retired *retired);
/* Hand over: these were reachable up to version `version` - 1. Takes a reference to the dimension. */
void reclaim_push(struct reclaim *reclaim, struct retired *retired, uint64_t version);

/* Let its thread look around: there is something else for it to do (dimensions_retry()). */
void reclaim_wake(struct reclaim *reclaim);

/* One whole scan and everything that it frees, in the calling thread. Returns blocks freed. Takes
 * reclaim.lock. */
size_t reclaim_run(struct reclaim *reclaim);
/* A scan, and the ring entries that it frees: for a commit that has none left, which waits for one step
 * of the thread at most. Takes reclaim.lock; may be called under the commit lock. */
void reclaim_run_ring(struct reclaim *reclaim);

/* A claim of the manager itself on a dimension at a version, as a reader's hold. */
struct reclaim_hold {
	struct reclaim_hold *next;
	uint64_t dimension;
	uint64_t version;
};
void reclaim_hold_add(struct reclaim *reclaim, struct reclaim_hold *hold);
void reclaim_hold_remove(struct reclaim *reclaim, struct reclaim_hold *hold);

/* Sum of the waiting blocks that a view sees, and CLOCK_MONOTONIC at which the first of them was
 * retired, 0 if there is none; for `readers`. Takes reclaim.lock. */
struct sessions_view;
uint64_t reclaim_kept_bytes(
	struct reclaim *reclaim, const struct sessions_view *view, uint64_t *ret_since_ns);
/* All bytes that wait. */
uint64_t reclaim_retired_bytes(struct reclaim *reclaim);

#endif
