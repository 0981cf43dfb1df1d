/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The region table: building the next version beside the current one and publishing it by one store.
 *
 * A version is made in two steps. table_draft() copies what changes (the leaf of each changed entry,
 * the top, the names when one of them changes) into fresh pages and may fail, leaving everything as it
 * was; table_publish() cannot fail. Both are called under the manager's commit lock. What the new
 * version no longer reaches is handed to reclaim: table pages, and the ring entry of the version before.
 */
#ifndef MANAGER_TABLE_H
#define MANAGER_TABLE_H

#include "regionmgr/manager/manager.h"

/* Create /regionmgr.<id>.table with an empty version `version`. A name left behind by an earlier run of
 * this instance is removed first: the caller holds the instance's lock. */
int table_create(struct rgm_manager *manager, uint64_t version, struct table **ret_table,
	struct rgm_error *error);
/*
 * Go on with the table of a manager that died: its current version is the current one here, and its
 * capacities (max_dimensions, places) are those of its header. manager->leave_names is set meanwhile.
 * -ENOENT, without a sentence: there is none; RGM_EINUSE: another manager lives; RGM_ECORRUPT,
 * RGM_EFORMAT.
 */
int table_adopt(struct rgm_manager *manager, struct table **ret_table, struct rgm_error *error);
/* Say that it is served, whatever the dead one said last. */
void table_serve(struct table *table);
/* The entry of the current version at an index; id 0: none there. NULL behind the last. */
const struct ipc_dimension *table_entry(const struct table *table, uint32_t index);
/* Hand every ring entry but the current one to reclaim: freed when nobody sees its version. -ENOMEM. */
int table_retire_ring(struct table *table);
/* The pages that are used and not reached by the current version, for reclaim, to be pushed with the
 * version that is published next. -ENOMEM. */
struct retired;
int table_find_unknown(struct table *table, struct retired **ret_batch);
/* Tell readers that the manager stops. They keep their mapping. */
void table_stop(struct table *table);
/* Unmap and remove the name. NULL is allowed. */
void table_destroy(struct table *table);

const struct ipc_table *table_header(const struct table *table);
/* A new read-only description for a reader. -errno. */
int table_open_reader(const struct table *table, int *ret_file);

uint64_t table_current(const struct table *table);
/* CLOCK_MONOTONIC at which a version was replaced; 0 if it is current or no longer known: of one that a
 * section sees it always is. */
uint64_t table_replaced_ns(const struct table *table, uint64_t version);

/* The number that the next publish will have: the next one whose ring entry nobody may see. Looks for
 * one by a scan if need be, and where the policy for lagging readers allows it takes the oldest ones
 * back (lag_make_room()). RGM_EBUSY when every entry is in view. */
int table_next_version(struct table *table, uint64_t *ret_version, struct rgm_error *error);

/* A free index for a new dimension. RGM_ELIMIT at max_dimensions. */
int table_free_index(const struct table *table, uint32_t *ret_index, struct rgm_error *error);

/* Store the revoked word of a session's place: what it sees of versions below `version` is void. At least
 * 1. A release; what may follow only once the reader sees it stands behind a barrier of the caller's. */
void table_revoke(struct table *table, uint32_t place, uint64_t version);
uint64_t table_revoked(const struct table *table, uint32_t place);

struct table_draft;
/* One change: the entry at an index becomes this; id 0 clears it. `changed` and `generation` are the
 * caller's. Names are compared with what is there to see whether the names block changes. */
struct table_change {
	uint32_t index;
	struct ipc_dimension entry;
};
int table_draft(struct table *table, uint64_t version, const struct table_change *changes,
	size_t change_count, struct table_draft **ret_draft, struct rgm_error *error);
/* Publish; frees the draft. `dropped`: a dimension is gone in this version. table_wake() has to follow. */
void table_publish(struct table *table, struct table_draft *draft, bool dropped);
/* Wake readers that sleep until something is published. The publisher calls it when it has released the
 * commit lock; once too often does no harm. */
void table_wake(struct table *table);
/* Forget; frees the draft and its pages. NULL is allowed. */
void table_discard(struct table *table, struct table_draft *draft);

/* Called by reclaim when no section sees them any more. Thread-safe. */
void table_free_pages(struct table *table, uint64_t page, uint64_t count);
void table_free_ring(struct table *table, uint64_t version);

/* Size of the mapping, in bytes. */
uint64_t table_bytes(const struct table *table);

#endif
