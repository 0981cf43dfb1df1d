/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the files of the folder, and the dimensions that the catalog names: one by one, and all of them. */
#ifndef MANAGER_OPEN_H
#define MANAGER_OPEN_H

#include "regionmgr/manager/catalog.h"

/* Open a file of the instance's folder, which only its owner can have put there: never follows a link,
 * never waits, and refuses what is not a regular file of this user's with one name. `flags` as for
 * openat(2). -ENOENT is told as a sentence, too. */
int folder_open_file(
	int folder, const char *name, int flags, int *ret_file, struct rgm_error *error);
/* Open every region; what cannot be served is registered as refused, with its reason. Fails only for
 * lack of memory. Raises manager->start_version above every version found. */
int dimensions_open(
	struct rgm_manager *manager, const struct catalog *catalog, struct rgm_error *error);
/* Publish all served ones in one version. */
int dimensions_publish(struct rgm_manager *manager, struct rgm_error *error);
/* Count into manager->in_use those that are not served because readers of an earlier manager map them. */
int dimensions_count_waiting(struct rgm_manager *manager, struct rgm_error *error);
/* Try those again. Takes the commit lock. */
void dimensions_retry(struct rgm_manager *manager);
/* Region files that no dimension owns: those of loads that a crash interrupted are removed, others are
 * logged and left alone. With `count_only`, before there are dimensions: only how many there are. */
size_t dimensions_look_at_orphans(struct rgm_manager *manager, bool count_only);
/* A dimension as a record has it, with one reference, not registered. NULL: no memory. */
struct dimension *dimension_from_record(
	struct rgm_manager *manager, const struct catalog_record *record);
/* Open its region, closed cleanly, and verify the kind's own blocks; root and summary go to `state`. */
int dimension_open_clean(struct dimension *dimension, struct pool_region **ret_region,
	struct dim_state *state, struct rgm_error *error);
/* Open its region as a dead manager left it: pool_region_take_over(). */
int dimension_open_live(struct dimension *dimension, struct pool_region **ret_region,
	bool *ret_published, struct rgm_error *error);
/* From now on it has a region; or none, for a reason that is logged. */
void dimension_serve(struct dimension *dimension, struct pool_region *region);
void dimension_refuse(
	struct dimension *dimension, const char *name, int code, const struct rgm_error *why);
/* Save every dimension and close its region. The first failure is told; all are closed. */
int dimensions_close(struct rgm_manager *manager, struct rgm_error *error);

#endif
