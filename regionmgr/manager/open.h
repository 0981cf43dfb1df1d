/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the files of the folder, and the dimensions that the catalog names. */
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
/* Publish all served ones in one version, and count into manager->in_use those that are not served
 * because readers of an earlier manager map them. */
int dimensions_publish(struct rgm_manager *manager, struct rgm_error *error);
/* Try those again. Takes the commit lock. */
void dimensions_retry(struct rgm_manager *manager);
/* Region files that no dimension owns: those of loads that a crash interrupted are removed, others are
 * logged and left alone. With `count_only`, before there are dimensions: only how many there are. */
size_t dimensions_look_at_orphans(struct rgm_manager *manager, bool count_only);
/* Save every dimension and close its region. The first failure is told; all are closed. */
int dimensions_close(struct rgm_manager *manager, struct rgm_error *error);

#endif
