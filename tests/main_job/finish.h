/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of the space on the disk, and of the instance once its workers have ended. All
 * return false after job_tell(). */
#ifndef MAIN_JOB_FINISH_H
#define MAIN_JOB_FINISH_H

#include "figures.h"
#include "instance.h"
#include "job.h"

/* After the first load: blocks on disk <= 1.1x the content; in a small run, where an extent is much,
 * two extents more for each dimension. */
bool finish_blocks(struct job *job, const struct instance *instance, struct figures *figures);

/* Wait until nothing retired is left, then allocated pages <= live pages + 1 %. */
bool finish_reclaimed(struct job *job, const struct instance *instance, struct figures *figures);

/* All sessions are gone. */
bool finish_readers_gone(struct job *job, const struct instance *instance);

/* Sum of the region files' published sizes, of every dimension. */
bool finish_region_bytes(struct job *job, const struct instance *instance, uint64_t *ret_bytes);

/* Every checksum of every dimension, by the manager that serves it. */
bool finish_check(struct job *job, const struct instance *instance, struct figures *figures);

/* Every checksum of every region file, while no manager runs. */
bool finish_check_files(struct job *job, const struct instance *instance);

/* No shared memory of this instance is left. */
bool finish_no_names(struct job *job, const char *instance_id);

#endif
