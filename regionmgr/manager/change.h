/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the set of dimensions, and what all changes share. */
#ifndef MANAGER_CHANGE_H
#define MANAGER_CHANGE_H

#include "regionmgr/manager/catalog.h"
#include "regionmgr/manager/dimension.h"
#include "regionmgr/manager/manager.h"
#include "regionmgr/manager/reclaim.h"
#include "regionmgr/manager/table.h"

/* A new dimension with its region file and an empty content, seen by nobody yet; one reference, with
 * a state of no name. */
int change_make(struct rgm_manager *manager, const struct rgm_create_options *options,
	struct dimension **ret_dimension, struct rgm_error *error);
/* Remove its region file, durably, and its live allocation. The reference stays the caller's. */
void change_unmake(struct dimension *dimension);
/* The same of a dimension that the catalog does not have any more: nothing is synced. */
void change_unlink(const struct dimension *dimension);

/* The table entry of a dimension with a region in a state, changed at `version`. */
void change_entry(const struct dimension *dimension, struct pool_region *region,
	const struct dim_state *state, uint64_t version, struct table_change *ret_change);

/* RGM_EFORKED with its sentence. */
int change_forked(struct rgm_error *error);

#endif
