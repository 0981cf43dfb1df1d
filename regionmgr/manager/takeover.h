/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over the live image of a manager that died: table, sessions, regions, as they stand in shared
 * memory and in the page cache. Readers notice nothing.
 *
 * The order that makes it right
 *   1. The folder's lock, then the table's: the other manager is dead, and no third one is at it.
 *   2. All sessions, before anything is looked at with a view to its reuse. If one of them cannot be found
 *      there may be readers of whom nothing is known: then nothing is taken over, and what was changed
 *      is refused.
 *   3. The current version is the truth. What the catalog says beside it tells which change of the set of
 *      dimensions was under way: one that was published has an entry, one that was not has none.
 *   4. What is allocated and not reached is unknown: born at 0, it is retired at the version T that is
 *      published at the end, so that any older word or hold keeps it.
 *   5. T is published, then the unknown blocks are handed to reclaim, then new readers are let in.
 * A death on the way leaves an image of the same kind: the next manager begins again.
 */
#ifndef MANAGER_TAKEOVER_H
#define MANAGER_TAKEOVER_H

#include "regionmgr/manager/catalog.h"
#include "regionmgr/manager/manager.h"

/*
 * 1 and 2: adopt table and sessions; the manager's incarnation, capacities and barrier are then the
 * image's, and manager->leave_names is set. Returns 1; 0 if there is no image, or none that can be gone on
 * with, which is logged and removed; negative where means are lacking, or RGM_EINUSE.
 */
int takeover_begin(struct rgm_manager *manager, struct rgm_error *error);

/* 3 to 5, with reclaim at work. */
int takeover_finish(
	struct rgm_manager *manager, const struct catalog *catalog, struct rgm_error *error);

/* Remove every name of the instance in shared memory. */
void takeover_remove_names(const struct rgm_manager *manager);
/* Remove the live allocations of dimensions that are not in the registry: dropped, or never there. */
void takeover_remove_strays(const struct rgm_manager *manager);

#endif
