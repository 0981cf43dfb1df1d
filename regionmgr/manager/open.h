/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the dimensions that the catalog names. */
#ifndef MANAGER_OPEN_H
#define MANAGER_OPEN_H

#include "regionmgr/manager/catalog.h"

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
